// Package fault is the proof that nothing acknowledged is lost or doubled. The real proxy and the real writer run as
// processes over a real PostgreSQL, clients write down every event before they send it and every answer that they get,
// and while they go on, programs, server and links are made to fail. In the end the books are compared with the tables.
//
// The ordinary tests are short. With the build tag long there are many rounds, and these flags:
//
//	go test -tags long -timeout 60m ./tests/fault -run Rounds -rounds 1000 -v
//	go test -tags long -timeout 60m ./tests/fault -run InManyRounds -rounds 16 -faults 'Postgres (killed|restarted)' -v
//	go test -tags long -timeout 60m ./tests/fault -run Duplicates -duplicates 10m -v
package fault

import (
	"flag"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"keygate/tests/programs"
)

var seedFlag = flag.Uint64("seed", 0, "choose the same faults, moments and events as a run that printed this; 0: others")

var binaries = programs.Of("keygate/proxy", "keygate/writer")

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = binaries.Remove()
		os.Exit(code)
	}))
}

// newSeed is what a test draws everything from that it leaves to chance. It is printed if the test fails.
func newSeed(tb testing.TB) uint64 {
	tb.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	tb.Logf("-seed %d", seed)
	return seed
}

// source returns one of many sources of chance that belong to a seed.
func source(seed uint64, number int) *rand.Rand { return rand.New(rand.NewPCG(seed, uint64(number))) }

// patience is for what takes milliseconds on an idle machine, or the ride-out at most. This one may be busy.
const patience = 60 * time.Second

// eventually waits until something holds, and returns how long that took.
func eventually(tb testing.TB, what string, holds func() bool) time.Duration {
	tb.Helper()
	began := time.Now()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Since(began) > patience {
			tb.Fatalf("waited %v in vain for %s", patience, what)
		}
		<-tick.C
	}
	return time.Since(began)
}
