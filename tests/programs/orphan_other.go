//go:build !linux

package programs

import "syscall"

func dieWithUs() *syscall.SysProcAttr { return nil }
