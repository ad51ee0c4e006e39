package hist

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAQuantileIsWithinOnePercentOfTheSortedValues(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var h Hist
	values := make([]time.Duration, 20_000)
	for i := range values {
		values[i] = time.Duration(random.ExpFloat64() * float64(20*time.Millisecond))
		h.Record(values[i])
	}
	slices.Sort(values)
	for _, q := range []float64{0.01, 0.5, 0.9, 0.99, 0.999, 1} {
		want := values[max(int(q*float64(len(values)))-1, 0)]
		got := h.Quantile(q)
		if got < want || float64(got) > 1.01*float64(want)+float64(unit) {
			t.Errorf("quantile %v: got %v, the sorted values say %v", q, got, want)
		}
	}
	if h.Max != values[len(values)-1] {
		t.Errorf("max: got %v, want %v", h.Max, values[len(values)-1])
	}
}

func TestEveryValueLiesInTheBucketThatCountsIt(t *testing.T) {
	for v := time.Duration(0); v < 5*time.Minute; v = v*9/8 + 333*time.Nanosecond {
		b := bucketOf(v)
		if b == size-1 {
			break
		}
		if lower := upperEdge(b - 1); b > 0 && v < lower || v >= upperEdge(b) {
			t.Fatalf("%v is counted in bucket %d, which ends at %v", v, b, upperEdge(b))
		}
	}
	if last := upperEdge(size - 1); last < 4*time.Minute {
		t.Errorf("the last bucket ends at %v already", last)
	}
}

func TestWhatExceedsTheLastBucketIsCountedAndItsMaximumIsExact(t *testing.T) {
	var h Hist
	h.Record(time.Hour)
	h.Record(-time.Second)
	if h.Count != 2 || h.Max != time.Hour || h.Quantile(0) > unit {
		t.Errorf("got %d values, max %v, least %v", h.Count, h.Max, h.Quantile(0))
	}
}

func TestMergedHistogramsAreTheHistogramOfAll(t *testing.T) {
	var all, left, right Hist
	for i := range 1000 {
		v := time.Duration(i*i) * time.Microsecond
		all.Record(v)
		if i%3 == 0 {
			left.Record(v)
		} else {
			right.Record(v)
		}
	}
	left.Merge(&right)
	left.Merge(&Hist{})
	if left != all {
		t.Error("the merged histogram differs")
	}
	var sum int64
	for _, b := range left.Buckets() {
		sum += b.Count
	}
	if sum != 1000 {
		t.Errorf("its buckets hold %d values of 1000", sum)
	}
	left.Reset()
	if left != (Hist{}) {
		t.Error("a reset histogram is not empty")
	}
}

func TestAnEmptyHistogramHasNoLatency(t *testing.T) {
	var h Hist
	if h.Quantile(0.99) != 0 || h.Buckets() != nil {
		t.Errorf("got %v and %v", h.Quantile(0.99), h.Buckets())
	}
}

func TestATimelineOfAnyLengthKeepsEveryValueInBoundedSlots(t *testing.T) {
	timeline := NewTimeline()
	const seconds = 600
	for i := range seconds {
		slot := Slot{Failed: 1}
		slot.Latency.Record(time.Duration(i) * time.Millisecond)
		at := time.Duration(i) * time.Second
		if until := timeline.Add(&slot, at, at); until <= at {
			t.Fatalf("at %v the next visit is due at %v", at, until)
		}
	}
	slots, width := timeline.Slots()
	if len(slots) > maxSlots || len(slots) < maxSlots/4 {
		t.Errorf("there are %d slots of %v", len(slots), width)
	}
	var count, failed int64
	for i, slot := range slots {
		count, failed = count+slot.Latency.Count, failed+slot.Failed
		from, to := time.Duration(i)*width, time.Duration(i+1)*width
		if longest := time.Duration(slot.Latency.Max.Milliseconds()) * time.Second; longest < from || longest >= to {
			t.Errorf("slot %v to %v holds what finished at %v", from, to, longest)
		}
	}
	if count != seconds || failed != seconds {
		t.Errorf("%d values and %d failures are left of %d", count, failed, seconds)
	}
	if recent := timeline.Since(width * time.Duration(len(slots)-1)).Latency.Count; recent == 0 || recent > count/10 {
		t.Errorf("the latest slot holds %d values", recent)
	}
}

func BenchmarkRecord(b *testing.B) {
	b.ReportAllocs()
	var h Hist
	for i := range b.N {
		h.Record(time.Duration(i&0xffff) * time.Microsecond)
	}
}
