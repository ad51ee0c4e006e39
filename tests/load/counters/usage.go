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
	var proxy, writer map[series]float64
	proxy, u.ProxyMissing = added(before.proxy, after.proxy, lookups, before.proxyErr, after.proxyErr)
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
	writer, u.WriterMissing = added(before.writer, after.writer, statements, before.writerErr, after.writerErr)
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

// added is the growth of each series, or the reason why it cannot be told.
func added(before, after map[series]float64, needed string, errs ...error) (growth map[series]float64, missing string) {
	for _, err := range errs {
		if err != nil {
			return nil, err.Error()
		}
	}
	moved := false
	growth = map[series]float64{}
	for s, n := range after {
		growth[s] = n - before[s] // a series that was not there yet counted from 0
		if growth[s] < 0 {
			return nil, "the counters went backwards: a program was restarted"
		}
		moved = moved || s.name == needed && growth[s] > 0
	}
	if !moved {
		return nil, "the counters did not move during the run"
	}
	return growth, ""
}
