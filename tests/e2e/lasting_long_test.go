//go:build long

package e2e

import (
	"slices"
	"testing"
	"time"
)

// Exchanges that began at any time are cut at any time until the next look at their key.
func TestHowLongARevokedKeyKeepsWhatItHasOpen(t *testing.T) {
	t.Parallel()
	lasting := startLastingAPI(t)
	s := newStack(t)
	proxy := s.proxy(lasting.url)
	first, second := s.createKey("acme"), s.createKey("other")
	const each = 10
	took := lasting.checkRevocation(t, proxy, each, recheck/each/3, [2]string{first.Key, second.Key}, func() {
		execute(t, s.db, "update api_keys set enabled = false where prefix = $1", first.Prefix)
	})
	slices.Sort(took)
	t.Logf("from the UPDATE to the end of %d exchanges: %v, %v, %v (least, median, most)", len(took), took[0], took[len(took)/2], took[len(took)-1])
	if spread := took[len(took)-1] - took[0]; spread < time.Second {
		t.Errorf("all ended within %v of each other, although they did not begin so", spread)
	}
}
