//go:build !long

package auth_test

import "time"

// modelLasts is how long each random schedule goes on.
const modelLasts = time.Second
