package pgsource

import "time"

// SetSnapshot pretends that a follower, which must not run, has read the log up to a snapshot.
func SetSnapshot(f *Follower, snapshot string) {
	f.at = position{snapshot: snapshot, readAt: time.Now()}
}

// Sleep pretends, while a follower delivers, that d passes until it reads again.
func Sleep(f *Follower, d time.Duration) { f.at.clock -= d.Seconds() }

// Waiting is how many look-ups wait for others.
func (s *Source) Waiting() int { return s.asking.Waiting() }
