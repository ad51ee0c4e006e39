package fault

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// check compares what was seen with what is promised. Of times it wants only that no time-out is among them.
func (seen *finding) check(t *testing.T) {
	t.Helper()
	wrong := func(format string, args ...any) {
		t.Helper()
		t.Errorf(seen.name+": "+format, args...)
	}
	// Where both tiers go at once a key is lost that is just being confirmed, as docs/coherence.md says. The 150 keys are
	// refreshed 60 times a second, and that takes a tenth of a second at worst on a machine that runs other tests.
	lost := 0
	if !seen.redis && !seen.source {
		lost = 6
	}
	if n := len(seen.during.keys); n > lost || len(seen.during.took) == 0 {
		wrong("%d of %d requests with known keys failed, with %d keys: %v",
			seen.during.failures(), len(seen.during.took), n, seen.during.failed)
	}
	before, during := quantile(seen.before.took, 0.99), quantile(seen.during.took, 0.99)
	if during > 10*before+250*time.Millisecond {
		wrong("the p99 of known keys rose from %v to %v", before, during)
	}
	if !seen.idle.only(http.StatusOK) {
		wrong("known keys that had not been used were answered %v", &seen.idle)
	}
	if seen.restart && !seen.restarted.only(seen.ofRestarted()) {
		wrong("the proxy that was restarted answered known keys %v", &seen.restarted)
	}
	unknown, fresh := http.StatusServiceUnavailable, http.StatusServiceUnavailable
	if seen.source {
		unknown, fresh = http.StatusUnauthorized, http.StatusOK
	}
	if !seen.unknown.only(unknown) || !seen.fresh.only(fresh) {
		wrong("keys that nobody had seen were answered %v if they did not exist, and %v if they did", &seen.unknown, &seen.fresh)
	}
	if n := seen.unknown.noRetry + seen.fresh.noRetry + seen.restarted.noRetry; n > 0 {
		wrong("%d answers 503 without Retry-After", n)
	}
	const budget = 3 * time.Second // half a second, on a machine that is busy
	if slowest := max(seen.unknown.slowest, seen.fresh.slowest, seen.idle.slowest, seen.restarted.slowest); slowest > budget {
		wrong("a key was answered after %v", slowest)
	}
	if seen.violations > 0 {
		wrong("keys that had been removed were let through %d times", seen.violations)
	}
	for _, name := range seen.degraded {
		if !slices.Contains(seen.readyz, name) {
			wrong("/readyz names %v, and not %s", seen.readyz, name)
		}
	}
	if most := fleetSize * fleetRate * 4; seen.lookups > most { // two seconds, the burst, and one second of a busy machine
		wrong("%d look-ups within two seconds of the end", seen.lookups)
	}
	if seen.warnings > 12 || seen.warnings == 0 && len(seen.degraded) > 0 {
		wrong("%d warnings were logged", seen.warnings)
	}
}

// ofRestarted is what a proxy that has nothing in memory answers for known keys.
func (o *outage) ofRestarted() int {
	if o.redis || o.source {
		return http.StatusOK
	}
	return http.StatusServiceUnavailable
}

// tabulate returns what was seen as a table in Markdown.
func tabulate(findings []*finding) string {
	var table strings.Builder
	table.WriteString("| | known keys in use: failed | their p99, before → meanwhile | known keys not in use | " +
		"keys that nobody has seen: expected | seen | removed meanwhile by | `/readyz` names | all as before after | look-ups, 2 s |\n" +
		"|---|---|---|---|---|---|---|---|---|---|\n")
	for _, seen := range findings {
		expected := "503, `Retry-After`, in 0.5 s"
		if seen.source {
			expected = "401, or 200 if they exist"
		}
		idle := fmt.Sprintf("%v, in %v", &seen.idle, ms(seen.idle.slowest))
		if seen.restart {
			idle += fmt.Sprintf("; restarted proxy: %v, in %v", &seen.restarted, ms(seen.restarted.slowest))
		}
		fmt.Fprintf(&table, "| %s | %d of %d | %v → %v | %s | %s | %v, in %v | %s: refused in %v | %s | %v | %d |\n",
			seen.name, seen.during.failures(), len(seen.during.took),
			ms(quantile(seen.before.took, 0.99)), ms(quantile(seen.during.took, 0.99)), idle,
			expected, merge(&seen.unknown, &seen.fresh), ms(max(seen.unknown.slowest, seen.fresh.slowest)),
			seen.way, ms(seen.refused), strings.Join(seen.readyz, ", "), ms(seen.recovered), seen.lookups)
	}
	return table.String()
}

func merge(tallies ...*tally) *tally {
	sum := &tally{answers: make(map[int]int)}
	for _, t := range tallies {
		for status, n := range t.answers {
			sum.answers[status] += n
		}
	}
	return sum
}

func ms(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}

// suffers goes through outages, one after the other, and prints the table.
func suffers(t *testing.T, names ...string) {
	t.Parallel()
	g := newGround(t)
	var findings []*finding
	for _, o := range outages {
		if len(names) > 0 && !slices.Contains(names, o.name) {
			continue
		}
		t.Run(o.name, func(t *testing.T) {
			seen := g.suffer(t, o)
			findings = append(findings, seen)
			seen.check(t)
			t.Log("\n" + tabulate([]*finding{seen}))
		})
	}
	t.Log("\n" + tabulate(findings))
}
