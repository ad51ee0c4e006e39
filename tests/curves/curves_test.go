package main

import (
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestSizesThatTheFilesDoNotAllowAreLeftOutAndSaid(t *testing.T) {
	kept, said := within(20_000, []float64{0, 5000, 10_000})
	if !slices.Equal(kept, []float64{0, 5000, 9800}) || !strings.Contains(said, "20000 files") {
		t.Errorf("got %v, %q", kept, said)
	}
	if kept, said := within(wantedFiles, []float64{0, 10_000}); !slices.Equal(kept, []float64{0, 10_000}) || said != "" {
		t.Errorf("got %v, %q", kept, said)
	}
}

func TestAPictureIsWellFormedAndNamesItsAxes(t *testing.T) {
	r := &recorder{&result{Title: "a < b", X: scale{Name: "connections", Logarithmic: true}}}
	for _, x := range []float64{1, 1000} {
		r.add("hop", x, sample{PerSecond: 10 * x, P99: x})
		r.add("hop", x, sample{PerSecond: 30 * x, P99: x})
	}
	got := string(r.result.picture([]panel{throughput, tail}))
	for decoder := xml.NewDecoder(strings.NewReader(got)); ; {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{throughput.name, tail.name, ">connections<", "a &lt; b", "prefers-color-scheme: dark"} {
		if !strings.Contains(got, want) {
			t.Errorf("it lacks %q", want)
		}
	}
	if strings.Contains(got, "NaN") || strings.Contains(got, "Inf") {
		t.Error("it holds something that is no number")
	}
}
