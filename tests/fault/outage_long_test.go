//go:build long

package fault

import "testing"

func TestCustomersWithWorkingKeysDoNotNoticeOutages(t *testing.T) { suffers(t) }
