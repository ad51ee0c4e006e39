//go:build !long

package conformance

import "time"

// What `make test` has time for. With the build tag long, cases are split at every byte.
const (
	splitStride = 17
	chaosFor    = 2 * time.Second
	slowUploads = 20
)
