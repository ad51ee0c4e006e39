package main

import (
	"context"
	"hash/crc32"
	"net"
	"sync"
	"time"

	"keygate/proxy/apikey"
)

// crowd is clients whose waiting nobody measures. Together they send at a rate as long as answers come in time.
type crowd struct {
	clients []*client
}

// gather makes n clients for each proxy, who come from one address or from as many as they are.
func (f *fleet) gather(n int, scattered bool) *crowd {
	c := &crowd{}
	for i := range n * len(f.proxies) {
		from := net.IPv4(127, 0, 0, 1)
		if scattered {
			from = net.IPv4(127, 1, byte(i>>8), byte(i))
		}
		c.clients = append(c.clients, newClient(f.proxies[i%len(f.proxies)].addr, from))
	}
	return c
}

func (c *crowd) close() {
	for _, one := range c.clients {
		one.close()
	}
}

// press presents keys at a rate in all until ctx ends, and returns how often each status was the answer; 0 is none.
func (c *crowd) press(ctx context.Context, rate float64, next func(i int) string) map[int]int {
	interval := time.Duration(float64(len(c.clients)) / rate * float64(time.Second))
	answers := make(map[int]int)
	var mu sync.Mutex
	var all sync.WaitGroup
	for i, one := range c.clients {
		all.Go(func() {
			own := make(map[int]int)
			due := time.Now().Add(interval * time.Duration(i) / time.Duration(len(c.clients)))
			for n := i; pauseUntil(ctx, due); n += len(c.clients) {
				status, err := one.ask(next(n))
				if err != nil {
					status = 0
				}
				own[status]++
				if due = due.Add(interval); due.Before(time.Now()) {
					due = time.Now() // what could not be sent is not made up for
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for status, count := range own {
				answers[status] += count
			}
		})
	}
	all.Wait()
	return answers
}

func pauseUntil(ctx context.Context, due time.Time) bool {
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// unknown returns a well-formed key that is nobody's.
func unknown(int) string {
	text, _, err := apikey.Mint("zap", "live")
	if err != nil {
		panic(err) // the labels are right
	}
	return text
}

// in returns keys in turn.
func in(keys []key) func(int) string {
	return func(i int) string { return keys[i%len(keys)].text }
}

// wrongSecrets returns well-formed keys with the prefixes of others and secrets that are not theirs.
func wrongSecrets(keys []key) func(int) string {
	const secret = 32
	return func(i int) string {
		own, other := keys[i%len(keys)], unknown(i)
		body := own.prefix + other[len(own.prefix):len(own.prefix)+1+secret]
		return body + checksum(body)
	}
}

// checksum is what a key of keygate's own format ends in.
func checksum(body string) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	sum, text := crc32.ChecksumIEEE([]byte(body)), make([]byte, 6)
	for i := len(text) - 1; i >= 0; i-- {
		text[i] = digits[sum%62]
		sum /= 62
	}
	return string(text)
}
