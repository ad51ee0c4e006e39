package counters

// Tiers are the proxy's tiers in the order in which it asks them.
var Tiers = []string{"memory", "redis", "source"}

// Usage is what a run cost the tiers and the database.
type Usage struct {
	ProxyMissing  string // why the proxy's figures are not available; "" if they are
	WriterMissing string

	SourceQueries float64
	Statements    map[string]float64 // by kind
	Tiers         map[string]Tier
}

// Tier is how often one tier was asked, and how often its answer settled the question.
type Tier struct{ Lookups, Hits float64 }

// HitRate is the share of look-ups that this tier settled; ok is false if it was never asked.
func (t Tier) HitRate() (share float64, ok bool) {
	if t.Lookups == 0 {
		return 0, false
	}
	return t.Hits / t.Lookups, true
}

// Between is what was counted from one reading to the next.
func Between(before, after Reading) Usage {
	u := Usage{Statements: map[string]float64{}, Tiers: map[string]Tier{}}
	proxy, err := difference(before.proxy, after.proxy, before.proxyErr, after.proxyErr, lookups)
	u.ProxyMissing = reason(err)
	for s, n := range proxy {
		switch s.name {
		case queries:
			u.SourceQueries += n
		case lookups:
			tier := u.Tiers[s.tier]
			tier.Lookups += n
			if s.outcome == "hit" || s.outcome == "negative" { // a remembered "no such key" spares the next tier too
				tier.Hits += n
			}
			u.Tiers[s.tier] = tier
		}
	}
	writer, err := difference(before.writer, after.writer, before.writerErr, after.writerErr, statements)
	u.WriterMissing = reason(err)
	for s, n := range writer {
		if s.name == statements { // one listener may show the series of both
			u.Statements[s.kind] += n
		}
	}
	return u
}

// StatementCount is the number of statements of every kind.
func (u Usage) StatementCount() float64 {
	sum := 0.0
	for _, n := range u.Statements {
		sum += n
	}
	return sum
}

func difference(before, after map[series]float64, beforeErr, afterErr error, needed string) (map[series]float64, error) {
	if beforeErr != nil {
		return nil, beforeErr
	}
	if afterErr != nil {
		return nil, afterErr
	}
	moved, added := false, map[series]float64{}
	for s, n := range after {
		added[s] = n - before[s] // a series that was not there yet counted from 0
		if added[s] < 0 {
			return nil, errBackward
		}
		moved = moved || s.name == needed && added[s] > 0
	}
	if !moved {
		return nil, errUnmoved
	}
	return added, nil
}

func reason(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
