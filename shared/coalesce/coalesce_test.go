package coalesce_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"keygate/shared/coalesce"
)

// caller records calls, which take a second each.
type caller struct {
	*coalesce.Calls[int]
	all sync.WaitGroup // who came

	mu    sync.Mutex
	calls [][]int
}

func newCaller(limits coalesce.Limits) *caller {
	c := &caller{}
	c.Calls = coalesce.New(func(items []int) {
		c.mu.Lock()
		c.calls = append(c.calls, slices.Sorted(slices.Values(items)))
		c.mu.Unlock()
		time.Sleep(time.Second)
	}, limits)
	return c
}

// come has items from to to-1 come at once. How long each had to wait is known at the end.
func (c *caller) come(t *testing.T, from, to int) (took []time.Duration) {
	t.Helper()
	took = make([]time.Duration, to-from)
	for i := range took {
		c.all.Go(func() {
			began := time.Now()
			if err := c.Do(context.Background(), from+i); err != nil {
				t.Error(err)
			}
			took[i] = time.Since(began)
		})
	}
	synctest.Wait()
	return took
}

func (c *caller) end() {
	c.all.Wait()
	c.Close()
}

// sizes are how many items each call had. It is for after the end.
func (c *caller) sizes() (all []int) {
	for _, items := range c.calls {
		all = append(all, len(items))
	}
	return all
}

func (c *caller) want(t *testing.T, want ...[]int) {
	t.Helper()
	c.end()
	if !slices.EqualFunc(c.calls, want, slices.Equal) {
		t.Errorf("calls of %v, want %v", c.calls, want)
	}
}

func TestThoseWhoComeMeanwhileShareTheNextCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(coalesce.Limits{Few: 1, Most: 1, Items: 3})
		c.come(t, 0, 1)
		time.Sleep(time.Second / 2)
		took := c.come(t, 1, 6)
		c.end()
		slices.Sort(took)
		if !slices.Equal(took, []time.Duration{1.5e9, 1.5e9, 1.5e9, 2.5e9, 2.5e9}) {
			t.Errorf("they waited %v", took)
		}
		if sizes := c.sizes(); !slices.Equal(sizes, []int{1, 3, 2}) {
			t.Errorf("calls of %v items", sizes)
		}
	})
}

// A slow call holds nobody up for longer than the patience, while more may be made.
func TestWhoHasWaitedForLongGoesAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(coalesce.Limits{Few: 1, Most: 2, Items: 10, Patience: 100 * time.Millisecond})
		c.come(t, 0, 1)
		second := c.come(t, 1, 2)
		time.Sleep(200 * time.Millisecond)
		third := c.come(t, 2, 3)
		c.want(t, []int{0}, []int{1}, []int{2})
		if second[0] != 1100*time.Millisecond || third[0] != 1800*time.Millisecond {
			t.Errorf("they waited %v and %v", second[0], third[0])
		}
	})
}

// On a busy machine every call is slow, and as many more as there are late items would make it slower.
func TestThoseWhoHaveWaitedForLongGoTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(coalesce.Limits{Few: 1, Most: 10, Items: 4, Patience: 100 * time.Millisecond})
		c.come(t, 0, 1)
		c.come(t, 1, 7)
		time.Sleep(50 * time.Millisecond)
		last := c.come(t, 7, 8)
		c.end()
		if last[0] != 1100*time.Millisecond {
			t.Errorf("the last one waited %v", last[0])
		}
		if sizes := c.sizes(); !slices.Equal(slices.Sorted(slices.Values(sizes)), []int{1, 1, 2, 4}) {
			t.Errorf("calls of %v", c.calls)
		}
	})
}

func TestManyItemsOfOneShareCallsAsThoseOfManyDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(coalesce.Limits{Few: 1, Most: 1, Items: 3})
		began := time.Now()
		if err := c.Do(t.Context(), 1, 2, 3, 4, 5); err != nil || time.Since(began) != 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if err := c.Do(ctx, 6, 7, 8, 9, 10); err != ctx.Err() || err == nil {
			t.Errorf("got %v", err)
		}
		c.want(t, []int{1, 2, 3}, []int{4, 5}, []int{6, 7, 8}) // nobody waits for the last two any more
	})
}

func TestWhoGivesUpIsLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(coalesce.Limits{Few: 1, Most: 1, Items: 10})
		c.come(t, 0, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if err := c.Do(ctx, 1); err != ctx.Err() || err == nil {
			t.Errorf("got %v", err)
		}
		c.come(t, 2, 3)
		c.want(t, []int{0}, []int{2})
	})
}
