package upstream_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"keygate/proxy/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait in the tests; only failing tests take that long.
const patience = 30 * time.Second

// service answers each line by its name. It is no HTTP, of which this package knows nothing.
type service struct {
	net.Listener
	name  string
	lines sync.WaitGroup
	conns chan net.Conn // as they are accepted
}

func start(tb testing.TB, name string) *service {
	tb.Helper()
	return startOn(tb, listen(tb, "tcp", "127.0.0.1:0"), name)
}

func listen(tb testing.TB, network, address string) net.Listener {
	tb.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func startOn(tb testing.TB, l net.Listener, name string) *service {
	tb.Helper()
	s := &service{Listener: l, name: name, conns: make(chan net.Conn, 1000)}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.lines.Go(func() { s.serve(c) })
			s.conns <- c
		}
	})
	tb.Cleanup(func() {
		l.Close()
		accepting.Wait()
		close(s.conns)
		for c := range s.conns {
			c.Close()
		}
		s.lines.Wait()
	})
	return s
}

func (s *service) serve(c net.Conn) {
	defer c.Close()
	for r := bufio.NewReader(c); ; {
		if _, err := r.ReadString('\n'); err != nil {
			return
		}
		_, _ = io.WriteString(c, s.name+"\n")
	}
}

func (s *service) url() string {
	if s.Addr().Network() == "unix" {
		return "unix:" + s.Addr().String()
	}
	return "http://" + s.Addr().String()
}

// deadURL is where nobody listens.
func deadURL(tb testing.TB) string {
	l := listen(tb, "tcp", "127.0.0.1:0")
	defer l.Close()
	return "http://" + l.Addr().String()
}

// set is a Set with its metrics.
type set struct {
	*upstream.Set
	tb       testing.TB
	registry *prometheus.Registry
}

func open(tb testing.TB, cfg upstream.Config, urls ...string) *set {
	tb.Helper()
	s := &set{tb: tb, registry: prometheus.NewRegistry()}
	cfg.Upstreams, cfg.Logger, cfg.Registerer = urls, slog.New(slog.DiscardHandler), s.registry
	var err error
	if s.Set, err = upstream.New(cfg); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s
}

func (s *set) get(fresh bool) *upstream.Conn {
	s.tb.Helper()
	c, err := s.Route([]byte("/")).Get(fresh)
	if err != nil {
		s.tb.Fatal(err)
	}
	return c
}

// ask has one exchange on a connection that is at hand, and returns who answered.
func ask(c *upstream.Conn) (name string, err error) {
	if err := c.Send([]byte("who?\n"), patience); err != nil {
		return "", err
	}
	line, err := c.R.ReadString('\n')
	return strings.TrimSuffix(line, "\n"), err
}

// once has one exchange on one connection.
func (s *set) once() string {
	s.tb.Helper()
	c := s.get(false)
	name, err := ask(c)
	c.Release(err == nil)
	if err != nil {
		s.tb.Fatal(err)
	}
	return name
}

// metric adds up the series of a name whose labels hold all of labels.
func (s *set) metric(name string, labels ...string) (sum int) {
	s.tb.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		s.tb.Fatal(err)
	}
	for _, family := range families {
		for _, series := range family.Metric {
			matches := family.GetName() == "keygate_proxy_upstream_"+name
			for _, label := range labels {
				matches = matches && strings.Contains(fmt.Sprint(series.GetLabel()), label)
			}
			if matches {
				sum += int(series.GetCounter().GetValue() + series.GetGauge().GetValue())
			}
		}
	}
	return sum
}
