package e2e

import (
	"bufio"
	"net/http"
	"slices"
	"testing"
	"time"
)

// BenchmarkEventOfAStream is the time from the API's sending of a server-sent event to its arrival at the client, through
// the program or without it.
func BenchmarkEventOfAStream(b *testing.B) {
	s := newEdge(b)
	key := s.createKey("acme").Key
	for _, through := range []bool{true, false} {
		name := "through=proxy"
		if !through {
			name = "through=nothing"
		}
		b.Run(name, func(b *testing.B) {
			wanted, sent := make(chan bool), make(chan time.Time, 1)
			api := startBackend(b, func(p *peer) {
				p.request()
				p.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
				for <-wanted {
					sent <- time.Now()
					p.send("10\r\ndata: an event\n\n\r\n")
				}
			})
			addr := api.addr
			if through {
				addr = s.proxy(api.url).addr
			}
			w := dial(b, addr)
			_ = w.conn.SetDeadline(time.Time{})
			w.send(request("GET", "/", "", "X-API-Key: "+key))
			response, err := http.ReadResponse(w.reader, nil)
			if err != nil {
				b.Fatal(err)
			}
			events := bufio.NewReader(response.Body)
			var delays []time.Duration
			b.ReportAllocs()
			for b.Loop() {
				wanted <- true
				for range 2 { // an event ends in an empty line
					if _, err := events.ReadString('\n'); err != nil {
						b.Fatal(err)
					}
				}
				delays = append(delays, time.Since(<-sent))
			}
			close(wanted)
			slices.Sort(delays)
			for unit, share := range map[string]int{"p50-µs": 50, "p99-µs": 99, "max-µs": 100} {
				b.ReportMetric(float64(delays[(len(delays)-1)*share/100].Microseconds()), unit)
			}
		})
	}
}
