package commit

import (
	"slices"
	"time"
)

// One event that the database refuses fails its whole batch, and to find it among 512 takes up to ten more failures.
// Validation is to be such that it never comes to that, but a constraint or an encoding of the database's owner may make a
// flood of it. So whose event was refused is a suspect for a while: its events are committed apart from everybody else's,
// and what it may cost in failed calls is bounded. Beyond, its events are held back. A failed call of 512 rows took 5 ms
// where it was measured (two cores, 2026), so that one suspect takes a tenth of the committer's time at the most.
const (
	suspectFor      = time.Minute // after the last refusal
	failuresAtOnce  = 60          // finds six refused events in one batch
	failuresASecond = 20
)

// suspects are the organisations that events were refused of. They are Run's.
type suspects map[string]*suspect

type suspect struct {
	refused  time.Time // the last time
	failures float64   // it may still cause
	counted  time.Time // when that was so
}

// accuse makes the organisation of a refused event a suspect.
func (s suspects) accuse(orgID string) {
	now := time.Now()
	if s[orgID] == nil {
		s[orgID] = &suspect{failures: failuresAtOnce, counted: now}
	}
	s[orgID].refused = now
}

// charge counts a call that failed for the rows, in their order, to each suspect among them.
func (s suspects) charge(rows []row) {
	for i := range rows {
		if i > 0 && rows[i].OrgID == rows[i-1].OrgID {
			continue
		}
		if one := s[rows[i].OrgID]; one != nil {
			one.failures--
		}
	}
}

// mayFail reports whether a call may fail for the sake of an organisation.
func (s suspects) mayFail(orgID string) bool {
	one := s[orgID]
	if one == nil {
		return true
	}
	now := time.Now()
	one.failures = min(failuresAtOnce, one.failures+now.Sub(one.counted).Seconds()*failuresASecond)
	one.counted = now
	return one.failures >= 1
}

// behind puts the rows of suspects behind the others and returns where they begin. Both stay in their order.
func (s suspects) behind(rows []row) int {
	if len(s) == 0 {
		return len(rows)
	}
	for orgID, one := range s {
		if time.Since(one.refused) > suspectFor {
			delete(s, orgID)
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		suspectA, suspectB := s[a.OrgID] != nil, s[b.OrgID] != nil
		switch {
		case suspectA == suspectB:
			return 0
		case suspectB:
			return -1
		}
		return 1
	})
	first := slices.IndexFunc(rows, func(r row) bool { return s[r.OrgID] != nil })
	if first < 0 {
		return len(rows)
	}
	return first
}
