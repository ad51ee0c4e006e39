//go:build long

package fault

import "testing"

func TestTenConsumersClaimEachOfManyDeliveriesOnce(t *testing.T) { claimAll(t, 100_000) }
