package fastpath

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"keygate/shared/socket"
)

// A client that has been told all is heard no longer than this once the listener is closed. If it were closed with
// something left to read, the kernel would throw away what the client has not taken yet.
const lingerTime = 2 * time.Second

// settle has a goroutine write the rest of an answer, whose client takes its time. The loop has the connection back
// afterwards, or while draining whoever accepts.
func (l *Listener) settle(c *client, rest []byte) {
	l.debts.Go(func() {
		defer context.AfterFunc(l.patience, func() { socket.Reset(c.Conn) })()
		if err := c.settle(rest); err != nil {
			socket.Reset(c.Conn) // or the end would be taken for that of the answer
			c.Conn.Close()
			return
		}
		switch {
		case !l.draining.Load():
			c.adopt(l.cfg.IdleTimeout)
		case !l.queue.push(c):
			c.linger()
		}
	})
}

// settle gives up on a client that takes nothing for as long as it may say nothing.
func (c *client) settle(rest []byte) error {
	for len(rest) > 0 {
		_ = c.SetWriteDeadline(time.Now().Add(c.loop.listener.cfg.IdleTimeout))
		n, err := c.Conn.Write(rest)
		rest = rest[n:]
		if err != nil && (n == 0 || !errors.Is(err, os.ErrDeadlineExceeded)) {
			return err
		}
	}
	return c.SetWriteDeadline(time.Time{})
}

// linger closes the connection once its client has ended it, or soon.
func (c *client) linger() {
	if c.CloseWrite() == nil && c.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.Copy(io.Discard, c.Conn)
	}
	c.Conn.Close()
}

// Settle waits until no client is owed the rest of an answer, and cuts off those that are when ctx ends. It is to be called
// after Close.
func (l *Listener) Settle(ctx context.Context) {
	defer context.AfterFunc(ctx, l.lose)()
	l.debts.Wait()
	l.lose()
}
