package pgsource

import (
	"context"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5/pgxpool"
)

// lender lends the connections of a pool to look-ups. The pool lets whoever finds none idle wait for the very connection
// that is being made for them, even if others come free meanwhile. On a busy machine that took longer than a look-up may
// wait, of a server that answered everybody else within a millisecond. Here whoever has waited longest gets the first
// connection that is free. Safe for concurrent use.
type lender struct {
	pool   *pgxpool.Pool
	most   int // connections
	base   context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	waiting  []chan loan // each of capacity 1; the oldest first
	fetching int         // goroutines that wait for the pool, at most as many as it has connections
	lent     int
}

type loan struct {
	conn *pgxpool.Conn
	err  error
}

func newLender(pool *pgxpool.Pool) *lender {
	l := &lender{pool: pool, most: int(pool.Config().MaxConns)}
	l.base, l.cancel = context.WithCancel(context.Background())
	return l
}

// borrow waits for a connection until ctx ends. The caller gives it back.
func (l *lender) borrow(ctx context.Context) (*pgxpool.Conn, error) {
	turn := make(chan loan, 1)
	l.mu.Lock()
	l.waiting = append(l.waiting, turn)
	l.fetchLocked()
	l.mu.Unlock()
	select {
	case got := <-turn:
		return got.conn, got.err
	case <-ctx.Done():
		l.leave(turn)
		return nil, ctx.Err()
	}
}

// leave gives up a turn, and back what it has brought by now.
func (l *lender) leave(turn chan loan) {
	l.mu.Lock()
	if at := slices.Index(l.waiting, turn); at >= 0 {
		l.waiting = slices.Delete(l.waiting, at, at+1)
	}
	l.mu.Unlock()
	select {
	case got := <-turn:
		if got.conn != nil {
			l.giveBack(got.conn)
		}
	default:
	}
}

func (l *lender) giveBack(conn *pgxpool.Conn) {
	conn.Release()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lent--
	if len(l.waiting) > 0 {
		l.fetchLocked()
	}
}

// fetchLocked has one more connection fetched. If there are as many fetching as there can be connections, one of them
// waits for what comes free.
func (l *lender) fetchLocked() {
	if l.fetching < l.most {
		l.fetching++
		l.wg.Go(l.fetch)
	}
}

// fetch waits for a connection, idle or new, and lends it to whoever waits by then. No look-up owns it, so that none
// that gives up takes it away from the others.
func (l *lender) fetch() {
	conn, err := l.pool.Acquire(l.base)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fetching--
	switch {
	case err == nil && len(l.waiting) == 0:
		conn.Release()
	case err == nil:
		l.lent++
		l.waiting[0] <- loan{conn: conn}
		l.waiting = slices.Delete(l.waiting, 0, 1)
	case l.lent == 0: // nobody has one who will give it back
		for _, turn := range l.waiting {
			turn <- loan{err: err}
		}
		l.waiting = nil
	}
}

// close ends all connections, and waits for those that are lent.
func (l *lender) close() {
	l.cancel()
	l.pool.Close()
	l.wg.Wait()
}
