package certificate

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"
)

// listener speaks TLS on what another accepts.
type listener struct {
	net.Listener
	keeper  *Keeper
	timeout time.Duration
	plain   []byte
}

// Listen puts TLS on a listener. A handshake is made by whoever reads from the connection first, so that it holds nobody
// else up: its own reading is bounded by that reader's deadline, its writing by timeout. If it fails, the reader gets
// io.EOF, as there is nobody to be answered; clients that speak HTTP without TLS are answered plain.
func (k *Keeper) Listen(inner net.Listener, timeout time.Duration, plain []byte) net.Listener {
	return &listener{inner, k, timeout, plain}
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: tls.Server(c, l.keeper.tls), listener: l}, nil
}

// conn makes its handshake on the first Read.
type conn struct {
	*tls.Conn
	listener *listener
	begun    bool // of the goroutine that reads
}

func (c *conn) Read(p []byte) (int, error) {
	if !c.begun {
		c.begun = true
		if err := c.handshake(); err != nil {
			c.listener.keeper.config.Metrics.failed.Inc()
			return 0, io.EOF
		}
	}
	return c.Conn.Read(p)
}

func (c *conn) handshake() error {
	if err := c.SetWriteDeadline(time.Now().Add(c.listener.timeout)); err != nil {
		return err
	}
	err := c.Handshake()
	if notTLS, ok := errors.AsType[tls.RecordHeaderError](err); ok && notTLS.Conn != nil && looksLikeHTTP(notTLS.RecordHeader) {
		_, _ = notTLS.Conn.Write(c.listener.plain)
	}
	if err != nil {
		return err
	}
	return c.SetWriteDeadline(time.Time{})
}

// looksLikeHTTP goes by the letters that a method begins with. No record of TLS begins with one.
func looksLikeHTTP(start [5]byte) bool {
	for _, c := range start[:3] {
		if c < 'A' || c > 'Z' {
			return false
		}
	}
	return true
}
