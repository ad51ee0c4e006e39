//go:build long

package fault

import (
	"flag"
	"testing"
)

var roundsFlag = flag.Int("rounds", 1000, "how many faults strike")

func TestNothingAcknowledgedIsLostOrDoubledInManyRounds(t *testing.T) {
	runRounds(t, *roundsFlag, 50)
}
