package limit_test

import (
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"keygate/shared/limit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a limited listener, to which connections come from any address.
type fixture struct {
	tb       testing.TB
	listener *limit.Listener
	inner    *inner
	registry *prometheus.Registry
	log      strings.Builder
}

func newFixture(tb testing.TB, cfg limit.Config) *fixture {
	tb.Helper()
	f := &fixture{tb: tb, inner: &inner{}, registry: prometheus.NewRegistry()}
	cfg.Answer, cfg.Metrics = []byte("full"), limit.NewMetrics(f.registry, "proxy")
	cfg.Logger = slog.New(slog.NewTextHandler(&f.log, nil))
	var err error
	if f.listener, err = limit.New(f.inner, cfg); err != nil {
		tb.Fatal(err)
	}
	return f
}

// inner is the listener below: it has what is queued, and then ends.
type inner struct{ queue []net.Conn }

func (i *inner) Accept() (net.Conn, error) {
	if len(i.queue) == 0 {
		return nil, io.EOF
	}
	next := i.queue[0]
	i.queue = i.queue[1:]
	return next, nil
}

func (i *inner) Addr() net.Addr { return &net.TCPAddr{} }
func (i *inner) Close() error   { return nil }

// peer is a connection that says it came from somewhere.
type peer struct {
	net.Conn
	from   net.Addr
	wrote  string
	closed bool
}

func (p *peer) RemoteAddr() net.Addr           { return p.from }
func (p *peer) Write(text []byte) (int, error) { p.wrote += string(text); return len(text), nil }
func (p *peer) Close() error                   { p.closed = true; return nil }

// from is a connection from an address, none being a Unix socket.
func from(address string) *peer {
	if address == "" {
		return &peer{from: &net.UnixAddr{Name: "@", Net: "unix"}}
	}
	return &peer{from: &net.TCPAddr{IP: net.ParseIP(address), Port: 4711}}
}

// admits has a connection come, and returns what was made of it if it was admitted.
func (f *fixture) admits(address string, want bool) net.Conn {
	f.tb.Helper()
	p := from(address)
	f.inner.queue = []net.Conn{p}
	c, err := f.listener.Accept()
	switch {
	case (err == nil) != want:
		f.tb.Errorf("a connection from %s: %v", address, err)
	case !want && (p.wrote != "full" || !p.closed):
		f.tb.Errorf("whoever was refused got %q, and is closed: %v", p.wrote, p.closed)
	}
	return c
}

func (f *fixture) metric(series string) float64 {
	f.tb.Helper()
	families, err := f.registry.Gather()
	if err != nil {
		f.tb.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, label := range m.GetLabel() {
				name += "." + label.GetValue()
			}
			if name == series {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	f.tb.Fatalf("no series %s", series)
	return 0
}

// logged counts a text in the log.
func (f *fixture) logged(part string) int { return strings.Count(f.log.String(), part) }

func TestNoMoreThanTheTotalIsOpen(t *testing.T) {
	f := newFixture(t, limit.Config{Total: 2})
	first := f.admits("10.0.0.1", true)
	f.admits("", true)
	f.admits("10.0.0.2", false)
	f.admits("", false)
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	_ = first.Close() // a second time gives no second place
	f.admits("10.0.0.3", true)
	f.admits("10.0.0.3", false)
	if f.metric("keygate_proxy_connections") != 2 || f.metric("keygate_proxy_connections_refused_total.total") != 3 {
		t.Error("the metrics are wrong")
	}
}

func TestNoMoreThanItsShareIsOpenOfAnAddress(t *testing.T) {
	f := newFixture(t, limit.Config{Total: 100, PerAddress: 2})
	full := func(same ...string) {
		t.Helper()
		first := f.admits(same[0], true)
		f.admits(same[1], true)
		f.admits(same[2], false)
		first.Close()
		f.admits(same[2], true)
		f.admits(same[0], false)
	}
	full("10.0.0.1", "10.0.0.1", "10.0.0.1")
	full("10.0.0.2", "::ffff:10.0.0.2", "10.0.0.2")
	full("2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::1")
	full("2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:1::3")
	for range 5 {
		f.admits("", true)
	}
	if got := f.metric("keygate_proxy_connections_refused_total.address"); got != 8 {
		t.Errorf("%v are counted as refused", got)
	}
}

func TestTheStartAndTheEndOfRefusingAreToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, limit.Config{Total: 2, PerAddress: 1})
		a := f.admits("10.0.0.1", true)
		for range 3 {
			f.admits("10.0.0.1", false)
		}
		b := f.admits("10.0.0.2", true)
		for range 3 {
			f.admits("10.0.0.3", false)
			time.Sleep(50 * time.Second)
		}
		b.Close()
		f.admits("10.0.0.2", true).Close()
		if f.logged("refusing connections of an address") != 1 || f.logged("refusing connections:") != 1 ||
			f.logged("no longer") != 1 { // for the address, and not yet in all
			t.Errorf("logged %s", f.log.String())
		}
		time.Sleep(time.Minute)
		f.admits("10.0.0.2", true).Close()
		a.Close()
		if f.logged("\n") != 4 || f.logged("no longer") != 2 || f.logged("refused=3") != 2 {
			t.Errorf("logged %s", f.log.String())
		}
	})
}

func TestTheTotalFitsTheDescriptors(t *testing.T) {
	standard, err := limit.Total(0, 1)
	if err != nil || standard < 1 || standard > 65_536 {
		t.Errorf("the default is %d, %v", standard, err)
	}
	for behind, want := range []int{19_744, 9_872, 6_581} {
		if got := limit.Room(20_000, behind); got != want {
			t.Errorf("%d each behind, with 20,000 files: room for %d, not %d", behind, got, want)
		}
		most := limit.Room(limit.OpenFiles(), behind)
		if got, err := limit.Total(most, behind); got != most || err != nil {
			t.Errorf("%d each behind, asked for %d: %d, %v", behind, most, got, err)
		}
		if _, err := limit.Total(most+1, behind); err == nil {
			t.Errorf("%d each behind: %d were allowed", behind, most+1)
		}
	}
	if got, err := limit.Total(1, 1); got != 1 || err != nil {
		t.Errorf("asked for one: %d, %v", got, err)
	}
	if _, err := limit.Total(1<<40, 1); err == nil || !strings.Contains(err.Error(), "allow at most") {
		t.Errorf("asked for too many: %v", err)
	}
}

func TestAConnectionCanBeClosedHalf(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	limited, err := limit.New(ln, limit.Config{Logger: slog.New(slog.DiscardHandler), Metrics: limit.NewMetrics(prometheus.NewRegistry(), "proxy")})
	if err != nil {
		t.Fatal(err)
	}
	defer limited.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c, err := limited.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(client); len(got) != 0 || err != nil {
		t.Errorf("the client reads %q, %v", got, err)
	}
	if _, err := client.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("read %d, %v", n, err)
	}
}

func BenchmarkAccept(b *testing.B) {
	for _, perAddress := range []string{"off", "on"} {
		b.Run("per-address="+perAddress, func(b *testing.B) {
			f := newFixture(b, limit.Config{Total: 2, PerAddress: len(perAddress) - 1})
			p, queue := from("10.0.0.1"), make([]net.Conn, 1)
			b.ReportAllocs()
			for b.Loop() {
				queue[0], f.inner.queue = p, queue
				c, err := f.listener.Accept()
				if err != nil {
					b.Fatal(err)
				}
				c.Close()
			}
		})
	}
}
