package app

// ready says whether requests are welcome, and what works only in part. A proxy that has once been able to find out who
// is calling stays ready during an outage: the keys that it knows keep working.
func (a *App) ready() (ok bool, degraded []string) {
	if a.redis != nil {
		if !a.redis.Healthy() {
			degraded = append(degraded, "redis")
		}
		if !a.redis.Writable() {
			degraded = append(degraded, "redis_writes")
		}
		if !a.redis.Subscribed() {
			degraded = append(degraded, "redis_subscription")
		}
	}
	if !a.resolver.SourceHealthy() || !a.source.proved.Load() {
		degraded = append(degraded, "database")
	}
	if !a.source.following() {
		degraded = append(degraded, "change_log")
	}
	return a.serving.Load() && a.reached.Load(), degraded
}
