//go:build long

package e2e

import (
	"flag"
	"testing"
	"time"
)

var crowdFlag = flag.Duration("crowd", time.Minute, "how long clients, the API and keys change their minds")

func TestNoAnswerReachesAnotherClientForLong(t *testing.T) { runCrowd(t, *crowdFlag) }
