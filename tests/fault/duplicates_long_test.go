//go:build long

package fault

import (
	"flag"
	"testing"
	"time"
)

var duplicatesFlag = flag.Duration("duplicates", time.Minute, "how long clients of two writers compete")

func TestDuplicatesAcrossTwoWritersForLong(t *testing.T) {
	runContest(t, *duplicatesFlag, 20*time.Second)
}
