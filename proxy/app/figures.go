package app

import (
	"time"

	"keygate/shared/admin"
)

// headline are the figures at the top of the status page.
var headline = []string{
	"requests_total", "lookups_total.memory", "lookups_total.redis", "source_queries_total",
	"request_seconds.p50", "request_seconds.p99",
}

func (a *App) stats() any {
	ready, degraded := a.ready()
	figures := admin.Snapshot(a.registry, "keygate_proxy_")
	figures["uptime_seconds"] = time.Since(a.started).Seconds()
	figures["ready"] = ready
	figures["degraded"] = append([]string{}, degraded...)
	figures["memory"] = map[string]any{"records": a.memory.Len(), "negatives": a.negative.Len()}
	figures["hit_ratio"] = hitRatios(figures["lookups_total"])
	return figures
}

// hitRatios says for each tier what share of the look-ups that it was asked for it has answered.
func hitRatios(lookups any) map[string]float64 {
	tiers, _ := lookups.(map[string]any)
	ratios := make(map[string]float64)
	for tier, counts := range tiers {
		outcomes, _ := counts.(map[string]any)
		answered, all := 0.0, 0.0
		for outcome, count := range outcomes {
			n, _ := count.(float64)
			all += n
			if outcome == "hit" || outcome == "negative" {
				answered += n
			}
		}
		if all > 0 {
			ratios[tier] = answered / all
		}
	}
	return ratios
}
