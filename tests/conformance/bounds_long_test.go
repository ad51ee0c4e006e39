//go:build long

package conformance

import "time"

const (
	splitStride = 1
	chaosFor    = 60 * time.Second
	slowUploads = 1000
)
