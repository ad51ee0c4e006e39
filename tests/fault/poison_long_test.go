//go:build long

package fault

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keygate/shared/uuid7"
	"keygate/tests/servers"
)

// One organisation floods the writer with batches whose events the database refuses, and then with good ones for
// comparison. What others see of it is measured.
func TestAFloodOfPoisonedEventsHardlySlowsOthers(t *testing.T) {
	url := servers.Postgres(t).Database(t)
	env := []string{"DATABASE_URL=" + url}
	command(t, env, "writer", "migrate", "up")
	execute(t, url, `alter table events add check (type <> 'poison')`)
	w := newProgram(t, "writer", env, "--trust-network")
	w.start()
	w.ready()
	const d = 5 * time.Second
	quiet, _ := besideFlood(t, w, d, "")
	good, goodWait := besideFlood(t, w, d, "fine")
	poisoned, poisonedWait := besideFlood(t, w, d, "poison")
	t.Logf("events of others: %d alone, %d beside a flood of good events (longest wait %v), %d beside one of poisoned events (%v)",
		quiet, good, goodWait, poisoned, poisonedWait)
	if poisoned < good/2 {
		t.Errorf("poisoned events slow others to less than half")
	}
}

// besideFlood lets 16 clients of one organisation send single events beside four of another that send batches, and
// returns how many of their events were stored, and how long one took at most.
func besideFlood(t *testing.T, w *program, d time.Duration, flood string) (stored int64, longest time.Duration) {
	transport := &http.Transport{MaxIdleConnsPerHost: 20}
	defer transport.CloseIdleConnections()
	web := &http.Client{Transport: transport, Timeout: patience}
	post := func(path, org, body string) answer {
		a, _, err := exchange(web, "http://"+w.addr+"/v1/events"+path, body, "X-Org-Id", org, "X-Keygate-Id", uuid7.Mint(time.Now()).String())
		if err != nil {
			t.Error(err)
		}
		return a
	}
	var group sync.WaitGroup
	var count, wait atomic.Int64
	end := time.Now().Add(d)
	for range 16 {
		group.Go(func() {
			for time.Now().Before(end) {
				began := time.Now()
				if a := post("", "modest", `{"type":"fine","payload":{}}`); a.Status != accepted {
					t.Errorf("an event is answered %+v", a)
				}
				count.Add(1)
				if took := time.Since(began).Nanoseconds(); took > wait.Load() {
					wait.Store(took)
				}
			}
		})
	}
	if flood != "" {
		body := "[" + strings.TrimSuffix(strings.Repeat(fmt.Sprintf(`{"type":%q,"payload":{}},`, flood), 100), ",") + "]"
		for range 4 {
			group.Go(func() {
				for time.Now().Before(end) {
					post("/batch", "greedy", body)
				}
			})
		}
	}
	group.Wait()
	return count.Load(), time.Duration(wait.Load())
}
