//go:build !linux

package fault

import "syscall"

func dieWithUs() *syscall.SysProcAttr { return nil }
