package admin_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"keygate/shared/admin"
)

func listenOn(address string) error {
	c := config()
	c.Listen = address
	s := admin.New(c)
	err := s.Listen()
	s.Close()
	return err
}

func TestAnAddressInUseIsAnErrorAtOnce(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "a")} {
		c := config()
		c.Listen = address
		s := start(t, c)
		if tcp, ok := s.Addr().(*net.TCPAddr); ok {
			address = tcp.String()
		}
		want := "opening the admin listener: " + address + " is in use"
		if err := listenOn(address); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v", err)
		}
		s.do("GET /healthz").expect(t, 200, "")
	}
}

func TestASocketIsForTheGroupAndGoneAfterwards(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	c := config()
	c.Listen = "unix:" + path
	s := start(t, c)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

func TestAnExchangeInFlightIsFinished(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s := start(t, config(), func(s *admin.Server) {
		s.Handle("GET", "/slow", func(ctx *fasthttp.RequestCtx) {
			close(entered)
			<-leave
			ctx.SetBodyString("done")
		})
	})
	got := make(chan answer, 1)
	go func() { got <- s.do("GET /slow") }()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- s.stop() }()
	for { // until the listener is closed
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			break
		}
		conn.Close()
	}
	close(leave)
	if a := <-got; a.StatusCode != 200 || string(a.body) != "done" || !a.Close {
		t.Errorf("got %d %s, close %v", a.StatusCode, a.body, a.Close)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestAConnectionThatSendsNothingMoreIsCut(t *testing.T) {
	s := start(t, config())
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// A whole exchange first, so that the connection is known to have been accepted.
	io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
	if _, err := conn.Read(make([]byte, 4096)); err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "POST /v1/stats HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
	began := time.Now()
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestCloseEndsRunAndMayComeAtAnyTime(t *testing.T) {
	c := config()
	s := admin.New(c)
	if err := s.Close(); err != nil {
		t.Errorf("before Listen: %v", err)
	}
	running := start(t, c)
	for range 2 {
		if err := running.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := running.stop(); err != nil {
		t.Error(err)
	}
}

func TestRunWithAContextThatHasEndedReturns(t *testing.T) {
	s := admin.New(config())
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
}
