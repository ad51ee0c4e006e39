package servers

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// RedisServer is one Redis server. Stop, Kill, Start, Pause and Continue are for the one goroutine of the test that
// started it, and end that test if they fail; the rest is safe for concurrent use.
type RedisServer struct {
	tb      testing.TB // nil when shared
	process *process   // nil when another process owns it
	program string
	args    []string
	addr    string
}

// StartRedis starts a server for one test, without persistence unless the further arguments say otherwise. It is gone
// when the test ends.
func StartRedis(tb testing.TB, args ...string) *RedisServer {
	tb.Helper()
	server, err := OpenRedis(args...)
	check(tb, err)
	server.tb = tb
	tb.Cleanup(func() {
		if err := server.Close(); err != nil {
			tb.Error(err)
		}
	})
	return server
}

// OpenRedis starts a server for whoever calls Close on it.
func OpenRedis(args ...string) (*RedisServer, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, errors.New("redis-server is not installed: `make test` says how, " +
			"or type: sudo apt-get install redis-server")
	}
	process, err := newProcess("redis", "KILL", nil)
	if err != nil {
		return nil, err
	}
	server := &RedisServer{process: process, program: program}
	err = withFreePort(func(port int) error {
		server.addr = address(port)
		server.args = append([]string{"--port", fmt.Sprint(port), "--bind", "127.0.0.1", "--dir", process.dir,
			"--save", "", "--appendonly", "no"}, args...)
		return server.start()
	})
	if err != nil {
		return nil, errors.Join(err, process.close())
	}
	return server, nil
}

// redisAt is a server that another process owns.
func redisAt(address string) (*RedisServer, error) {
	parsed, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("%s is no URL", RedisVariable)
	}
	return &RedisServer{addr: parsed.Host}, nil
}

// Addr returns host:port.
func (s *RedisServer) Addr() string { return s.addr }

// URL returns the URL of database 0.
func (s *RedisServer) URL() string { return "redis://" + s.addr + "/0" }

// Stop is an orderly shutdown.
func (s *RedisServer) Stop() { s.own().fault(s.process.stop(syscall.SIGTERM)) }

// Kill ends the server at once.
func (s *RedisServer) Kill() { s.own().fault(s.process.kill()) }

// Start starts the server again after Stop or Kill, on the same port, and returns when it answers.
func (s *RedisServer) Start() { s.own().fault(s.start()) }

// Pause freezes the server: connections stay open and nothing answers.
func (s *RedisServer) Pause() {
	_, err := s.own().process.pause()
	s.fault(err)
}

// Continue ends a Pause.
func (s *RedisServer) Continue() { s.own().fault(s.process.resume()) }

// Close ends the server and removes its data.
func (s *RedisServer) Close() error { return s.process.close() }

func (s *RedisServer) own() *RedisServer {
	if s.tb == nil {
		panic("the shared Redis may not be disturbed: use StartRedis")
	}
	return s
}

func (s *RedisServer) fault(err error) {
	s.tb.Helper()
	check(s.tb, err)
}

func (s *RedisServer) start() error {
	return s.process.start(s.ping, s.program, s.args...)
}

// ping succeeds once the server answers commands, even if the answer is that it wants a password first.
func (s *RedisServer) ping() error {
	conn, err := net.DialTimeout("tcp", s.addr, connectTimeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(connectTimeout)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if strings.HasPrefix(answer, "+PONG") || strings.HasPrefix(answer, "-NOAUTH") {
		return nil
	}
	return fmt.Errorf("redis answered %q", strings.TrimSpace(answer))
}
