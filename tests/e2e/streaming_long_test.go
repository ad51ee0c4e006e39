//go:build long

package e2e

import "testing"

func TestAGibibyteEachWayPassesThroughLittleMemory(t *testing.T) {
	t.Parallel()
	stream(t, 1<<30)
}
