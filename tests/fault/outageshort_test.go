//go:build !long

package fault

import "testing"

func TestCustomersWithWorkingKeysDoNotNoticeOutages(t *testing.T) {
	suffers(t, "Redis in a black hole", "Both stopped, a proxy restarted")
}
