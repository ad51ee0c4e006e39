//go:build long

package fault

import (
	"flag"
	"regexp"
	"testing"
)

var (
	roundsFlag = flag.Int("rounds", 1000, "how many faults strike")
	faultsFlag = flag.String("faults", "", "only those whose names match this, as in 'Postgres (killed|restarted)'")
)

func TestNothingAcknowledgedIsLostOrDoubledInManyRounds(t *testing.T) {
	runRounds(t, *roundsFlag, 50, regexp.MustCompile(*faultsFlag))
}
