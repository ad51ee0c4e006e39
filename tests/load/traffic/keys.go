package traffic

import (
	"math"
	"math/rand/v2"
	"sort"
)

// Keys are the API keys of a run and the law by which they are chosen. It is safe for concurrent use.
type Keys struct {
	list       []string
	cumulative []float64 // weights of Zipf's law, summed up; nil chooses in turn
}

// NewKeys chooses among list in turn if zipf is 0, and otherwise the key of rank r with a probability proportional to
// 1/r^zipf.
func NewKeys(list []string, zipf float64) *Keys {
	k := &Keys{list: list}
	if zipf == 0 || len(list) == 1 {
		return k
	}
	k.cumulative = make([]float64, len(list))
	sum := 0.0
	for i := range list {
		sum += math.Pow(float64(i+1), -zipf)
		k.cumulative[i] = sum
	}
	return k
}

func (k *Keys) longest() int {
	length := 0
	for _, key := range k.list {
		length = max(length, len(key))
	}
	return length
}

// pick chooses the key of the i-th request of the run.
func (k *Keys) pick(i int64, random *rand.Rand) string {
	if k.cumulative == nil {
		return k.list[i%int64(len(k.list))]
	}
	point := random.Float64() * k.cumulative[len(k.cumulative)-1]
	return k.list[sort.SearchFloat64s(k.cumulative, point)]
}
