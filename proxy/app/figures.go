package app

import "keygate/shared/admin"

// figures are the counters as nested objects, with the hit rate of each tier: of the look-ups that it was asked for,
// how many it answered.
func (a *App) figures() map[string]any {
	figures := admin.Snapshot(a.registry, "keygate_proxy_")
	lookups, _ := figures["lookups"].(map[string]any)
	rates := make(map[string]float64)
	for _, tier := range []string{"memory", "redis", "source"} {
		answered, all := 0.0, 0.0
		for outcome, tiers := range lookups {
			byTier, _ := tiers.(map[string]any)
			n, _ := byTier[tier].(float64)
			all += n
			if outcome == "hit" || outcome == "negative" {
				answered += n
			}
		}
		if all > 0 {
			rates[tier] = answered / all
		}
	}
	figures["hit_rate"] = rates
	return figures
}
