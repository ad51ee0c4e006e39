//go:build long

package fault

import "testing"

func TestASQLiteFileOutlivesManyKilledWriters(t *testing.T) { killOnSQLite(t, 100) }
