package chart

import (
	"fmt"
	"math"
	"strconv"
)

// Axis maps a value to a share (0 to 1) of the plot, and names some values.
type Axis struct {
	Name  string // with the unit; in a document only
	place func(v float64) float64
	ticks []tick
}

type tick struct {
	at    float64
	label string
}

func (a Axis) across(v float64) float64 { return left + a.place(v)*plotWidth }
func (a Axis) down(v float64) float64   { return above + (1-a.place(v))*plotHeight }

// Mark names a value of the axis.
func (a *Axis) Mark(at float64, label string) { a.ticks = append(a.ticks, tick{at, label}) }

// Scaled is an axis without marks, on which place gives each value its share of the plot.
func Scaled(place func(v float64) float64) Axis { return Axis{place: place} }

// Linear is an axis from 0 to a round value at or above top.
func Linear(top float64, unit string) Axis {
	step := roundStep(max(top, 1e-9) / 4)
	end := max(math.Ceil(top/step-1e-9), 1) * step
	a := Axis{place: func(v float64) float64 { return v / end }}
	for i := 0.0; i*step <= end*(1+1e-9); i++ {
		a.Mark(i*step, trimmed(i*step)+unit)
	}
	return a
}

// Span is an axis of time from 0 to exactly end seconds.
func Span(end float64) Axis {
	end = max(end, 1e-9)
	step := roundStep(end / 8)
	a := Axis{place: func(v float64) float64 { return min(v/end, 1) }}
	for i := 0.0; i*step <= end; i++ {
		a.Mark(i*step, trimmed(i*step)+" s")
	}
	return a
}

// Logarithmic is an axis from low to high, both widened to 1, 2 or 5 times a power of ten.
func Logarithmic(low, high float64, unit string) Axis {
	var steps []float64
	high = max(high, 2e-3)
	low = min(max(low, 1e-3), high) // of no values at all, low would be infinite
	for decade := math.Floor(math.Log10(low)); decade <= math.Ceil(math.Log10(high)); decade++ {
		for _, digit := range []float64{1, 2, 5} {
			steps = append(steps, digit*math.Pow(10, decade))
		}
	}
	for len(steps) > 2 && steps[1] <= low {
		steps = steps[1:]
	}
	for len(steps) > 2 && steps[len(steps)-2] >= high {
		steps = steps[:len(steps)-1]
	}
	first, last := math.Log(steps[0]), math.Log(steps[len(steps)-1])
	a := Axis{place: func(v float64) float64 { return (math.Log(max(v, steps[0])) - first) / (last - first) }}
	const room = 8 // more labels than this, and only the powers of ten get one
	for _, v := range steps {
		if power := math.Log10(v); len(steps) <= room || math.Abs(power-math.Round(power)) < 1e-9 {
			a.Mark(v, trimmed(v)+unit)
		}
	}
	return a
}

// Steps is an axis from the first of some values to the last, with a mark at each: evenly, or by their logarithms.
func Steps(values []float64, logarithmic bool, label func(float64) string) Axis {
	scale := func(v float64) float64 { return v }
	if logarithmic {
		scale = math.Log
	}
	first, last := scale(values[0]), scale(values[len(values)-1])
	a := Axis{place: func(v float64) float64 { return (scale(v) - first) / max(last-first, 1e-9) }}
	for _, v := range values {
		a.Mark(v, label(v))
	}
	return a
}

// roundStep is the smallest of 1, 2 or 5 times a power of ten that is at least v.
func roundStep(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, digit := range []float64{1, 2, 5} {
		if digit*power >= v*(1-1e-9) {
			return digit * power
		}
	}
	return 10 * power
}

// trimmed is a round number without digits that say nothing.
func trimmed(v float64) string {
	if v >= 1000 {
		return Thousands(v)
	}
	return fmt.Sprintf("%g", math.Round(v*1e6)/1e6)
}

// Thousands is a whole number with its digits in groups.
func Thousands(v float64) string {
	text := strconv.FormatFloat(v, 'f', 0, 64)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}
