//go:build !linux

package run

import "time"

func nap(d time.Duration) { time.Sleep(d) }
