package run

import (
	"sync"
	"testing"
	"time"

	"keygate/tests/load/fakeapi"
)

func TestAnOpenLoopSendsAtItsRate(t *testing.T) {
	api := fakeapi.New(t)
	result := load(t, plan(api.URL, 20), Limit{Duration: 500 * time.Millisecond, Rate: 400})
	if result.Requests != 200 || result.OK != 200 || api.Requests() != 200 {
		t.Errorf("got %d requests, %d ok; %d arrived", result.Requests, result.OK, api.Requests())
	}
	if result.Elapsed < 490*time.Millisecond {
		t.Errorf("they took %v", result.Elapsed)
	}
	if result.Lag.Count == 0 || result.Lag.Quantile(0.5) > 50*time.Millisecond {
		t.Errorf("median lag %v of %d", result.Lag.Quantile(0.5), result.Lag.Count)
	}
}

// stalling is a fake that answers nothing for a while, once, from its 50th request on.
func stalling(tb testing.TB, stall time.Duration) *fakeapi.API {
	api := fakeapi.New(tb)
	var once sync.Once
	over := make(chan struct{})
	api.Answer(func(n int) (int, string) {
		if n >= 50 {
			once.Do(func() { time.AfterFunc(stall, func() { close(over) }) })
			<-over
		}
		return 0, ""
	})
	return api
}

func TestAnOpenLoopShowsAStallToEveryoneWhoWouldHaveMetIt(t *testing.T) {
	const stall, rate = 400 * time.Millisecond, 500
	open := load(t, plan(stalling(t, stall).URL, 2), Limit{Requests: 500, Rate: rate})
	// Some 200 of the 500 were due while nothing was answered, and waited a time spread evenly from 0 to the stall.
	if p99, p80 := open.Latency.Quantile(0.99), open.Latency.Quantile(0.8); p99 < stall*8/10 || p80 < stall/4 {
		t.Errorf("open loop: p80 %v, p99 %v", p80, p99)
	}
	if open.OK != 500 {
		t.Errorf("got %v", open.Outcomes)
	}
	// The same stall in a closed loop is two slow requests of 500: that is what the open loop is for.
	closed := load(t, plan(stalling(t, stall).URL, 2), Limit{Requests: 500})
	if p99 := closed.Latency.Quantile(0.99); p99 > stall/2 || closed.Latency.Max < stall*8/10 {
		t.Errorf("closed loop: p99 %v, max %v", p99, closed.Latency.Max)
	}
}

func TestARequestThatWaitsTooLongForAConnectionIsATimeout(t *testing.T) {
	api := stalling(t, 500*time.Millisecond)
	p := plan(api.URL, 1)
	p.Timeout = 200 * time.Millisecond
	result := load(t, p, Limit{Requests: 300, Rate: 300})
	if result.Requests != 300 || result.Outcomes["timeout"] < 2 || result.OK+result.Outcomes["timeout"] != 300 {
		t.Errorf("got %v of %d", result.Outcomes, result.Requests)
	}
	if int64(api.Requests()) >= result.Requests {
		t.Error("requests were sent that nobody waited for any more")
	}
}
