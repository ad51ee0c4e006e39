package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"keygate/tests/programs"
)

const (
	maxIdle = 10_000

	seriesSilent = "connected, never a request"
	seriesUsed   = "idle after one request"
	// A loopback address has some 28,000 ports to connect from, and this many of them do.
	sources = 8
	// Memory is looked at once the collector and the allocator have had this long.
	settle = 1500 * time.Millisecond
)

var idle = curve{
	name: "idle", title: "Memory of the proxy against idle connections",
	conditions: "resident set of one proxy over a stub; --max-connections, --idle-timeout and --header-timeout raised",
	x:          scale{Name: "idle connections"}, panels: []panel{memory},
	measure: func(ctx context.Context, f *field, r *recorder) error {
		files, err := openFiles()
		if err != nil {
			return err
		}
		sizes, said := within(files, []float64{0, 1000, 2500, 5000, 7500, maxIdle})
		r.result.Conditions += said
		for _, name := range []string{seriesSilent, seriesUsed} {
			if err := f.fill(ctx, r, name, sizes); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	},
}

// fill opens more and more connections to one proxy.
func (f *field) fill(ctx context.Context, r *recorder, name string, sizes []float64) (err error) {
	t, err := f.hop(ctx, programs.Launcher{Arguments: []string{
		"--max-connections", strconv.Itoa(int(sizes[len(sizes)-1])), "--idle-timeout", "10m", "--header-timeout", "10m",
	}})
	if err != nil {
		return err
	}
	var open []net.Conn
	defer func() {
		for _, c := range open {
			err = errors.Join(err, c.Close())
		}
	}()
	for _, n := range sizes {
		for len(open) < int(n) {
			c, err := dial(ctx, t.addresses[0], len(open))
			if err != nil {
				return err
			}
			open = append(open, c)
			if name == seriesUsed {
				if err := use(c, f.keys[0]); err != nil {
					return err
				}
			}
		}
		if err := wait(ctx, settle); err != nil {
			return err
		}
		bytes, err := programs.RSS(t.parts[0].PID)
		if err != nil {
			return err
		}
		r.add(name, n, sample{RSS: float64(bytes) / (1 << 20)})
	}
	return nil
}

func dial(ctx context.Context, address string, i int) (net.Conn, error) {
	dialer := net.Dialer{Timeout: timeout, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i%sources))}}
	return dialer.DialContext(ctx, "tcp", address)
}

// use makes one request and reads the answer.
func use(c net.Conn, key string) error {
	const body = `{"type":"contact.created","payload":{"n":1}}`
	request, err := http.NewRequest(http.MethodPost, "http://proxy/v1/events", strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("X-API-Key", key)
	request.Header.Set("Content-Type", "application/json")
	if err := errors.Join(c.SetDeadline(time.Now().Add(timeout)), request.Write(c)); err != nil {
		return err
	}
	response, err := http.ReadResponse(bufio.NewReader(c), request)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, response.Body)
	if response.StatusCode != http.StatusCreated {
		err = errors.Join(err, fmt.Errorf("answered %s", response.Status))
	}
	return errors.Join(err, response.Body.Close())
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
