package redisstore_test

import (
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"keygate/proxy/auth"
	"keygate/proxy/auth/redisstore"
	"keygate/tests/servers"
)

// gets is how many round trips have read records.
func gets(t *testing.T, series *prometheus.Registry) (n int) {
	t.Helper()
	families, err := series.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == "keygate_proxy_redis_round_trips_total" && strings.Contains(m.String(), `"get"`) {
				n += int(m.GetCounter().GetValue())
			}
		}
	}
	return n
}

func TestGetsThatComeTogetherShareARoundTrip(t *testing.T) {
	t.Parallel()
	server := servers.StartRedis(t)
	series := prometheus.NewRegistry()
	cfg := config(t, strings.Replace(server.URL(), server.Addr(), far(t, server, 50*time.Millisecond), 1)+"?pool_size=2", "a", "")
	cfg.Metrics = redisstore.NewMetrics(series)
	c := open(t, cfg)
	near := open(t, config(t, server.URL(), "b", ""))
	const keys = 50
	tokens := make([]auth.Token, keys)
	for i := range tokens {
		tokens[i] = fill(t, near, "held"+strconv.Itoa(i))
	}
	if err := connect(t, server.URL()).HSet(t.Context(), redisstore.DefaultKeyPrefix+"hash", "a", "b").Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), "first"); err != nil { // connects
		t.Fatal(err)
	}
	before := gets(t, series)
	var all sync.WaitGroup
	get := func(prefix string, state auth.State, token auth.Token) {
		all.Go(func() {
			r, err := c.Get(t.Context(), prefix)
			if err != nil || r.State != state || r.Token != token || r.Now == 0 {
				t.Errorf("%s: state %d, %v", prefix, r.State, err)
			}
		})
	}
	for i, token := range tokens {
		get("held"+strconv.Itoa(i), auth.Held, token)
		get("absent"+strconv.Itoa(i), auth.Absent, "")
	}
	get("hash", auth.Foreign, "")
	all.Wait()
	if trips := gets(t, series) - before; trips > 10 {
		t.Errorf("%d round trips for %d keys", trips, 2*keys+1)
	}
}
