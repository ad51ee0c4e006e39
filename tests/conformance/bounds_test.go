//go:build !long

package conformance

import "time"

// What `make test` has time for. With the build tag long, cases are split at every byte.
const (
	splitStride = 5
	chaosFor    = 2 * time.Second
)
