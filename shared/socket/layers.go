package socket

import "net"

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
