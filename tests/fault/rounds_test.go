package fault

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"testing"
	"time"

	"keygate/tests/link"
	"keygate/tests/servers"
)

// A fault is something that fails until it heals.
type fault struct {
	name   string
	part   string // what fails: two faults at once are of different parts
	strike func()
	heal   func()
}

// world is a stack in which anything can be made to fail.
type world struct {
	*stack
	postgres *servers.PostgresServer
	cable    *link.Link // from the writer to PostgreSQL
	rng      *rand.Rand
	faults   []fault
}

func newWorld(tb testing.TB, seed uint64) *world {
	tb.Helper()
	w := &world{postgres: servers.StartPostgres(tb), rng: source(seed, -1)}
	url := w.postgres.Database(tb)
	cable, linked := link.StartTo(tb, url, readyForQuery)
	w.cable, w.stack = cable, newStack(tb, url, linked)
	nothing := func() {}
	w.faults = []fault{
		{"writer killed", "writer", w.writer.kill, w.writer.start},
		{"proxy killed", "proxy", w.proxy.kill, w.proxy.start},
		{"Postgres killed", "postgres", w.postgres.Kill, w.postgres.Start},
		{"Postgres restarted", "postgres", w.postgres.Stop, w.postgres.Start},
		{"Postgres frozen", "postgres", w.postgres.Pause, w.postgres.Continue},
		{"backend terminated", "postgres", w.terminateBackend, nothing},
	}
	w.addLink("database", w.cable)
	w.addLink("writer", w.wire)
	return w
}

func (w *world) addLink(to string, l *link.Link) {
	passAgain := func() { l.Set(link.Passes) }
	for _, f := range []struct {
		name string
		mode link.Mode
		heal func()
	}{
		{"link reset", link.Refuses, passAgain},
		{"link in a black hole", link.Holds, passAgain},
		{"link in a black hole, then reset", link.Holds, func() { l.Reset(); passAgain() }},
		{"link in small slices", link.Dribbles, passAgain},
		{"link that loses answers", link.Loses, passAgain},
	} {
		w.faults = append(w.faults, fault{to + " " + f.name, to + " link", func() { l.Set(f.mode) }, f.heal})
	}
}

func (w *world) terminateBackend() {
	execute(w.tb, w.url, `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'keygate-writer'`)
}

// A record is what the rounds of a kind have led to, one after the other.
type record struct {
	requests []time.Duration // the longest that a client waited for an answer that acknowledges
	gaps     []time.Duration // the longest that no client had one
}

// spread shows the middle and the end of durations.
func spread(durations []time.Duration) string {
	if len(durations) == 0 {
		return "none"
	}
	slices.Sort(durations)
	middle, last := durations[len(durations)/2], durations[len(durations)-1]
	return fmt.Sprintf("median %v, longest %v", middle.Round(time.Millisecond), last.Round(time.Millisecond))
}

const faultClients = 16

// The longest that a fault lasts, besides what it takes to start a program again. It is far shorter than the ride-out.
const longestFault = 200 * time.Millisecond

// runRounds lets faults of some names strike while clients send events. Every so many rounds the books are balanced.
func runRounds(t *testing.T, rounds, balanceEvery int, only *regexp.Regexp) {
	seed := newSeed(t)
	w := newWorld(t, seed)
	w.faults = slices.DeleteFunc(w.faults, func(f fault) bool { return !only.MatchString(f.name) })
	records, answers, total, began := make(map[string]*record), make(map[string]int), verdict{}, time.Now()
	var deck []fault
	for done := 0; done < rounds; {
		load := w.newLoad(seed+uint64(done), faultClients)
		for stop := min(done+balanceEvery, rounds); done < stop; done++ {
			if len(deck) == 0 {
				deck = slices.Clone(w.faults)
				w.rng.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
			}
			w.round(load, deck[0], records)
			deck = deck[1:]
		}
		v := w.balance(load)
		total = verdict{total.sent + v.sent, total.acknowledged + v.acknowledged, total.stored + v.stored}
		for code, n := range load.answers() {
			answers[code] += n
		}
		if t.Failed() {
			t.Fatalf("after %d rounds", done)
		}
		t.Logf("after %d rounds and %v: %+v", done, time.Since(began).Round(time.Second), v)
		w.writer.start()
	}
	t.Logf("%d rounds in %v: %d events sent, %d acknowledged, %d stored; answers lost: %d to the writer, %d to the proxy",
		rounds, time.Since(began).Round(time.Second), total.sent, total.acknowledged, total.stored,
		w.cable.AnswersLost(), w.wire.AnswersLost())
	t.Logf("answers: %s", show(answers))
	for _, name := range slices.Sorted(maps.Keys(records)) {
		r := records[name]
		t.Logf("%4d × %-45s request: %s; silence: %s", len(r.requests), name, spread(r.requests), spread(r.gaps))
	}
}

// round lets a fault strike at a random moment, in one round of four another one beside it, and waits until events are
// acknowledged again.
func (w *world) round(l *load, f fault, records map[string]*record) {
	w.tb.Helper()
	struck := []fault{f}
	if w.rng.IntN(4) == 0 {
		if other := w.faults[w.rng.IntN(len(w.faults))]; other.part != f.part {
			struck = append(struck, other)
		}
	}
	l.reaches(w.tb, w.rng.IntN(8*faultClients))
	l.stalls()
	w.while(w.rng.Int64N(int64(20 * time.Millisecond)))
	for _, one := range struck {
		one.strike()
		w.while(w.rng.Int64N(int64(longestFault)))
	}
	for _, one := range struck {
		one.heal()
	}
	l.reaches(w.tb, 2*faultClients) // each has seen the end of it, more or less
	request, gap := l.stalls()
	name := f.name
	if len(struck) > 1 {
		name = "(two at once)"
	}
	r := records[name]
	if r == nil {
		r = new(record)
		records[name] = r
	}
	r.requests, r.gaps = append(r.requests, request), append(r.gaps, gap)
}

// while lets a part of a round last. Nothing is waited for.
func (w *world) while(nanoseconds int64) { <-time.After(time.Duration(nanoseconds)) }

// balance ends the clients and the writer, and compares the books with the tables, which are empty afterwards.
func (w *world) balance(l *load) verdict {
	w.tb.Helper()
	l.end()
	w.writer.stop()
	eventually(w.tb, "the sessions of killed writers to end", func() bool {
		return ask(w.tb, w.url, `select count(*) from pg_stat_activity where application_name = 'keygate-writer'`) == 0
	})
	for code := range l.answers() {
		if !slices.Contains(tolerated, code) {
			w.tb.Errorf("clients were answered %s", code)
		}
	}
	v := judge(w.tb, w.url, l.book)
	if !w.tb.Failed() {
		execute(w.tb, w.url, `truncate events, event_deliveries`)
	}
	return v
}

// tolerated are the answers that clients may get while things fail.
var tolerated = []string{accepted, duplicate, "dedup_conflict", unconnected, cutOff,
	"upstream_unreachable", "upstream_timeout", "auth_unavailable", "unavailable", "commit_unknown"}

func TestNothingAcknowledgedIsLostOrDoubledInAShortRunOfRounds(t *testing.T) {
	runRounds(t, 16, 16, regexp.MustCompile("")) // each fault once
}
