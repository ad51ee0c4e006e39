package programs

import "syscall"

// dieWithUs ends a program even if this one is killed and gets no chance to.
func dieWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
