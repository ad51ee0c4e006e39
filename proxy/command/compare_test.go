package command

import (
	"strings"
	"testing"

	"keygate/proxy/auth"
)

func TestProxiesAreComparedTierByTier(t *testing.T) {
	view := func(state, fill string, keys ...auth.KeyView) auth.TierView {
		return auth.TierView{State: state, Fill: fill, Keys: keys}
	}
	one := auth.KeyView{OrgID: "one", Alg: "sha256", Enabled: true, OrgEnabled: true}
	revoked := one
	revoked.Enabled = false
	base := auth.Explanation{
		Memory: view("fresh", "AAAA…", one), Redis: view("fresh", "AAAABBBB", one), Source: view("present", "", one),
	}
	f := func(name, tier string, change func(*auth.Explanation)) {
		t.Helper()
		other := base
		change(&other)
		var out strings.Builder
		same := printComparison(&out, []explained{{"http://a", base}, {"http://b", other}})
		told := strings.Contains(out.String(), "  "+tier)
		if same != (tier == "") || !same && !told {
			t.Errorf("%s: same: %v\n%s", name, same, out.String())
		}
		for _, line := range strings.Split(out.String(), "\n") {
			if strings.HasPrefix(line, "  ") && !strings.HasPrefix(line, "  "+tier) {
				t.Errorf("%s: %q is not about %s", name, line, tier)
			}
		}
	}
	f("alike", "", func(*auth.Explanation) {})
	f("copies of different ages", "", func(e *auth.Explanation) { e.Memory = view("demoted", "CCCC…", one) })
	f("no copy", "", func(e *auth.Explanation) { e.Memory = view("absent", "") })
	f("a copy that was removed", "", func(e *auth.Explanation) { e.Memory = view("removed", "") })
	f("a record past its time", "", func(e *auth.Explanation) { e.Redis.State = "expired" })
	f("an old copy", "memory", func(e *auth.Explanation) { e.Memory = view("fresh", "CCCC…", revoked) })
	f("a negative answer", "memory", func(e *auth.Explanation) { e.Memory = view("negative", "") })
	f("another record", "redis", func(e *auth.Explanation) { e.Redis.Fill = "CCCCDDDD" })
	f("no record", "redis", func(e *auth.Explanation) { e.Redis = view("leased", "") })
	f("another secret", "redis", func(e *auth.Explanation) { e.Redis = view("forged", "") })
	f("cut off from Redis", "redis", func(e *auth.Explanation) { e.Redis = view("unreachable", "") })
	f("another database", "source", func(e *auth.Explanation) { e.Source = view("present", "", revoked) })
	f("cut off from the source", "source", func(e *auth.Explanation) { e.Source = view("unreachable", "") })
	var out strings.Builder
	if !printComparison(&out, []explained{{"http://a", base}}) || out.Len() > 0 {
		t.Errorf("one proxy was compared: %s", out.String())
	}
}
