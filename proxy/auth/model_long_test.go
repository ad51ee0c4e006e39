//go:build long

package auth_test

import "time"

// modelLasts is how long each random schedule goes on.
const modelLasts = 30 * time.Second
