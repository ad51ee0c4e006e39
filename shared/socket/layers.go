package socket

import (
	"io"
	"net"
	"syscall"
	"time"
)

// Within returns the first T among a connection and the ones inside of it, as their NetConn tells.
func Within[T any](c net.Conn) (found T, ok bool) {
	for {
		if found, ok = c.(T); ok {
			return found, true
		}
		outer, more := c.(interface{ NetConn() net.Conn })
		if !more {
			return found, false
		}
		c = outer.NetConn()
	}
}

// CloseWrite ends what is sent on a connection; what is received goes on. One that cannot do that stays as it is.
func CloseWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// A connection that is closed while its client is still sending is reset by the kernel, and the client may never read
// the answer that said why. So what is left is read a while longer and thrown away: two seconds carry what a client has in
// flight, and 32 MiB in them is more than one that heeds the answer would send.
const (
	lingerTime  = 2 * time.Second
	lingerBytes = 32 << 20
)

// Linger ends what is sent on a connection that is about to be closed, and waits for the other side's end.
func Linger(c net.Conn) {
	if CloseWrite(c) == nil && c.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, c, lingerBytes)
	}
}

// Reset closes the socket within c in such a way that nobody takes what was sent on it for all: HTTP/1.0 would take an
// orderly close for the end of a body. Whoever has c goes on to close that.
func Reset(c net.Conn) {
	if inner, ok := Within[interface {
		net.Conn
		syscall.Conn
	}](c); ok {
		c = inner
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.Close()
}
