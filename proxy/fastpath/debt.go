package fastpath

import (
	"context"
	"errors"
	"os"
	"time"

	"keygate/shared/socket"
)

// settle has a goroutine write the rest of an answer, whose client takes its time. The loop has the connection back
// afterwards, or while draining whoever accepts.
func (l *Listener) settle(c *client, rest []byte) {
	l.debts.Go(func() {
		defer context.AfterFunc(l.ctx, func() { socket.Reset(c.Conn) })()
		if err := c.settle(rest); err != nil {
			socket.Reset(c.Conn) // or the end would be taken for that of the answer
			c.Conn.Close()
			return
		}
		switch {
		case !l.draining.Load():
			c.adopt(l.cfg.IdleTimeout)
		case !l.queue.push(c):
			socket.Linger(c.Conn)
			c.Conn.Close()
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

// Settle waits until no client is owed the rest of an answer, and cuts off those that are when ctx ends. It is to be called
// after Close.
func (l *Listener) Settle(ctx context.Context) {
	defer context.AfterFunc(ctx, l.cancel)()
	l.debts.Wait()
	l.cancel()
}
