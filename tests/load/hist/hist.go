// Package hist counts latencies: log-linear buckets no wider than 1/128 of their value, and slots of them over time.
package hist

import (
	"math"
	"math/bits"
	"time"
)

const (
	// 128 buckets an octave keep a quantile within 0.8 % of the truth; the unit of 1 µs is far below what is measured.
	perOctave = 128
	octaves   = 21
	size      = (octaves + 1) * perOctave // up to 2^28 µs, four and a half minutes
	unit      = time.Microsecond
)

// Hist is a histogram for one goroutine at a time; the zero value is empty. What exceeds the last bucket is counted in
// it; Max is exact all the same.
type Hist struct {
	Count int64
	Max   time.Duration

	counts [size]uint32
	lo, hi int // the buckets in use are lo ≤ b < hi, so that merging and clearing touch few of them
}

// Bucket is a run of values (From, To] and how many fell in it.
type Bucket struct {
	From, To time.Duration
	Count    int64
}

// Record counts one value; a negative one counts as 0.
func (h *Hist) Record(d time.Duration) {
	b := bucketOf(d)
	h.counts[b]++
	h.Count++
	h.Max = max(h.Max, d)
	h.widen(b, b+1)
}

// Merge adds the counts of o.
func (h *Hist) Merge(o *Hist) {
	if o.Count == 0 {
		return
	}
	for b := o.lo; b < o.hi; b++ {
		h.counts[b] += o.counts[b]
	}
	h.Count += o.Count
	h.Max = max(h.Max, o.Max)
	h.widen(o.lo, o.hi)
}

// Reset empties h.
func (h *Hist) Reset() {
	clear(h.counts[h.lo:h.hi])
	h.Count, h.Max, h.lo, h.hi = 0, 0, 0, 0
}

// Quantile is the value that the share q of all values do not exceed, rounded up to the end of its bucket; 0 if empty.
func (h *Hist) Quantile(q float64) time.Duration {
	rank, seen := int64(math.Ceil(q*float64(h.Count)-1e-6)), int64(0) // 0.07·100 is a little over 7 in binary
	for b := h.lo; b < h.hi; b++ {
		if seen += int64(h.counts[b]); seen >= rank && seen > 0 {
			return min(upperEdge(b), h.Max)
		}
	}
	return h.Max
}

// Buckets lists the buckets that are not empty, in order.
func (h *Hist) Buckets() []Bucket {
	var list []Bucket
	for b := h.lo; b < h.hi; b++ {
		if h.counts[b] > 0 {
			list = append(list, Bucket{upperEdge(b - 1), upperEdge(b), int64(h.counts[b])})
		}
	}
	return list
}

func (h *Hist) widen(lo, hi int) {
	if h.hi == 0 {
		h.lo, h.hi = lo, hi
		return
	}
	h.lo, h.hi = min(h.lo, lo), max(h.hi, hi)
}

// bucketOf maps a value to its bucket: the values below 2·perOctave units one by one, then perOctave buckets an octave.
func bucketOf(d time.Duration) int {
	v := uint64(max(d, 0) / unit)
	shift := max(bits.Len64(v)-bits.Len64(2*perOctave-1), 0)
	return min(shift*perOctave+int(v>>shift), size-1)
}

func upperEdge(b int) time.Duration {
	if b < 2*perOctave {
		return time.Duration(b+1) * unit
	}
	shift := b/perOctave - 1
	return time.Duration(b-shift*perOctave+1) << shift * unit
}
