package forward_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"keygate/proxy/forward"
	"keygate/proxy/upstream"
)

// responderEnv makes the test binary an upstream that answers everything alike, so that its CPU time is not counted.
const responderEnv = "FORWARD_BENCH_RESPONDER"

func respond(address string) {
	network, address, _ := strings.Cut(address, " ")
	l, err := net.Listen(network, address)
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	answer := []byte("HTTP/1.1 201 Created\r\nDate: Mon, 23 Nov 2026 15:00:00 GMT\r\nContent-Type: application/json\r\n" +
		"Content-Length: 94\r\n\r\n" + strings.Repeat("x", 94))
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			buffer := make([]byte, 16<<10)
			for {
				if _, err := c.Read(buffer); err != nil { // a request of the benchmark comes in one piece
					return
				}
				if _, err := c.Write(answer); err != nil {
					return
				}
			}
		}()
	}
}

func startResponder(b *testing.B, network string) (address string) {
	b.Helper()
	address = "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(b.TempDir(), "up")
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), responderEnv+"="+network+" "+address)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(line)
}

const benchHeader = "Host: api.example.com\r\nUser-Agent: wrk/4.2\r\nAccept: */*\r\nContent-Type: application/json\r\n" +
	"X-Request-Id: 0190163d-8694-739b-aea5-966c26f8ad91\r\nX-Org-Id: 0190163d-8694-739b-aea5-966c26f8ad90\r\n" +
	"X-Org-Key: zap_live_0123456789ab\r\nX-Keygate-Id: 0190163d-8694-7000-aea5-966c26f8ad91\r\n"

func cpu() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// benchmarkExchanges measures exchange in parallel, each goroutine with a ctx of its own.
func benchmarkExchanges(b *testing.B, body string, exchange func(ctx *fasthttp.RequestCtx) error) {
	b.ReportAllocs()
	b.SetParallelism(32)
	var failed atomic.Value
	before := cpu()
	b.RunParallel(func(pb *testing.PB) {
		ctx := new(fasthttp.RequestCtx)
		raw := "POST /v1/events HTTP/1.1\r\n" + benchHeader + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
		in := bytes.NewReader([]byte(raw))
		r := bufio.NewReader(in)
		ctx.Init2(nil, nil, false)
		if err := ctx.Request.Read(r); err != nil {
			failed.Store(err)
			return
		}
		for pb.Next() {
			if err := exchange(ctx); err != nil || ctx.Response.StatusCode() != 201 {
				failed.Store(fmt.Errorf("answered %d: %w", ctx.Response.StatusCode(), err))
				return
			}
		}
	})
	b.ReportMetric(float64((cpu()-before).Nanoseconds())/1000/float64(b.N), "cpu-µs/op")
	if err := failed.Load(); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkExchange(b *testing.B) {
	for _, network := range []string{"tcp", "unix"} {
		address := startResponder(b, network)
		for _, size := range []int{0, 300} {
			body := strings.Repeat("b", size)
			name := fmt.Sprintf("network=%s/body=%d", network, size)
			b.Run(name+"/by=forward", func(b *testing.B) {
				url := map[string]string{"tcp": "http://" + address, "unix": "unix:" + address}[network]
				registry := prometheus.NewRegistry()
				set, err := upstream.New(upstream.Config{Upstreams: []string{url}, Registerer: registry})
				if err != nil {
					b.Fatal(err)
				}
				f := forward.New(forward.Config{Upstreams: set, Registerer: registry})
				defer f.Close()
				x := forward.Exchange{Header: []byte(benchHeader), Target: []byte("/v1/events")}
				benchmarkExchanges(b, body, func(ctx *fasthttp.RequestCtx) error {
					if size > 0 {
						ctx.Request.SetBodyStream(strings.NewReader(body), size)
					}
					return f.Forward(ctx, x)
				})
			})
			b.Run(name+"/by=hostclient", func(b *testing.B) {
				client := &fasthttp.HostClient{Addr: address, MaxConns: 4096, NoDefaultUserAgentHeader: true,
					DisablePathNormalizing: true, ReadTimeout: 30 * time.Second,
					Dial: func(address string) (net.Conn, error) { return net.Dial(network, address) }}
				defer client.CloseIdleConnections()
				benchmarkExchanges(b, body, func(ctx *fasthttp.RequestCtx) error { return client.Do(&ctx.Request, &ctx.Response) })
			})
		}
	}
}
