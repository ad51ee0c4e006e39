package auth

import (
	"context"
	"time"
)

// together implements asker: in a flood, prefixes that nobody is likely to know are asked about together. A goroutine and
// a question to Redis for each, and the turns these wait for, would be taken from customers whose keys are in memory.
func (r *Resolver) together(prefix []byte) time.Time {
	if !r.gate.barren() {
		return time.Time{}
	}
	if _, met := r.Memory.Get(prefix); met {
		return time.Time{}
	}
	return r.gate.nextTogether(time.Now())
}

// askTogether implements asker: one question to the shared cache, and then most of them are refused.
func (r *Resolver) askTogether(ctx context.Context, keys []flightKey) []answer {
	quests := make([]*quest, len(keys))
	for i, key := range keys {
		quests[i] = r.begin(key)
		quests[i].flooded = !quests[i].met
	}
	r.readTogether(ctx, quests)
	answers := make([]answer, len(quests))
	for i, q := range quests {
		answers[i] = r.refuse(q, lastEntrance(ctx))
	}
	return answers
}

func (r *Resolver) readTogether(ctx context.Context, quests []*quest) {
	var readers []*quest
	var prefixes []string
	for _, q := range quests {
		if q.shared {
			readers, prefixes = append(readers, q), append(prefixes, string(q.prefix))
		}
	}
	if len(readers) == 0 {
		return
	}
	asked := time.Now()
	readings, err := r.Cache.GetMany(ctx, prefixes)
	for i, q := range readers {
		if err != nil {
			r.Metrics.looked(TierShared, failure)
			q.shared = false
		} else {
			r.saw(q, readings[i], asked)
		}
	}
}

// refuse answers who knows nothing and need not wait for a turn at the source, for there is none in time. The others go on
// by themselves.
func (r *Resolver) refuse(q *quest, until time.Time) answer {
	if !q.met && (!q.shared || q.seen.State == Absent) {
		if got, away := r.turnAway(q, until); away {
			if q.shared {
				r.Metrics.looked(TierShared, miss)
			}
			return got
		}
	}
	return answer{rest: func(ctx context.Context) answer { return r.conclude(ctx, q) }}
}
