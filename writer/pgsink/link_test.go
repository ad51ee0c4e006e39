package pgsink_test

import (
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"keygate/shared/database"
	"keygate/writer/sinktest"
)

// A link is a stretch of network between a sink and its server.
type link struct {
	url    database.URL
	server string
	loses  atomic.Bool // what the server says
	pooler atomic.Bool // refuses connections with a statement_timeout, as PgBouncer does

	all   sync.WaitGroup
	mu    sync.Mutex
	conns []net.Conn
}

// newLink returns a link to the server of u. It is gone when the test ends.
func newLink(tb testing.TB, u database.URL) *link {
	tb.Helper()
	parsed, err := url.Parse(u.ConnString())
	if err != nil {
		tb.Fatal(err)
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	l := &link{server: parsed.Host}
	parsed.Host = listener.Addr().String()
	l.url = sinktest.ParseURL(tb, parsed.String())
	l.all.Go(func() { l.serve(listener) })
	tb.Cleanup(func() {
		listener.Close()
		l.cut()
		l.all.Wait()
	})
	return l
}

// loseAnswers keeps what the server says on connections that are open, as if it were still on its way.
func (l *link) loseAnswers() { l.loses.Store(true) }

// cut ends all connections. New ones work.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range l.conns {
		conn.Close()
	}
	l.conns = nil
	l.loses.Store(false)
}

func (l *link) serve(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		l.track(client)
		l.all.Go(func() {
			defer client.Close()
			if start, ok := l.greet(client); ok {
				l.join(client, start)
			}
		})
	}
}

func (l *link) track(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, conn)
}

// greet returns the bytes that a pooler has read of a connection that it takes.
func (l *link) greet(client net.Conn) (start []byte, ok bool) {
	if !l.pooler.Load() {
		return nil, true
	}
	backend := pgproto3.NewBackend(client, client)
	message, err := backend.ReceiveStartupMessage()
	startup, ok := message.(*pgproto3.StartupMessage)
	if err != nil || !ok {
		return nil, false
	}
	if _, refused := startup.Parameters["statement_timeout"]; refused {
		backend.Send(&pgproto3.ErrorResponse{
			Severity: "FATAL", Code: "08P01", Message: "unsupported startup parameter: statement_timeout",
		})
		backend.Flush()
		return nil, false
	}
	start, err = startup.Encode(nil)
	return start, err == nil
}

// join leads a connection to the server until either side ends it.
func (l *link) join(client net.Conn, start []byte) {
	server, err := net.Dial("tcp4", l.server)
	if err != nil {
		return
	}
	defer server.Close()
	l.track(server)
	server.Write(start)
	l.all.Go(func() {
		io.Copy(server, client)
		server.Close()
	})
	l.copyAnswers(client, server)
}

func (l *link) copyAnswers(client, server net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := server.Read(buffer)
		if err != nil {
			return
		}
		if !l.loses.Load() {
			client.Write(buffer[:n])
		}
	}
}
