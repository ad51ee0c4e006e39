package forward

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// One direction that carries something keeps the other one open.
func TestATunnelIsIdleOnlyIfBothDirectionsAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const idle = time.Minute
		c := &call{f: &Forwarder{cfg: Config{IdleTimeout: idle}}}
		client, clientsEnd := net.Pipe()
		service, servicesEnd := net.Pipe()
		go c.splice(clientsEnd, servicesEnd, servicesEnd)
		go c.splice(servicesEnd, clientsEnd, clientsEnd)
		text := make([]byte, 2)
		pass := func(from, to net.Conn) {
			t.Helper()
			go func() { _, _ = io.WriteString(from, "hi") }()
			if _, err := io.ReadFull(to, text); err != nil || string(text) != "hi" {
				t.Fatalf("%q, %v", text, err)
			}
		}
		for range 5 {
			time.Sleep(idle - time.Second)
			pass(service, client)
		}
		time.Sleep(idle - time.Second)
		pass(client, service)
		begun := time.Now()
		if _, err := client.Read(text); err != io.EOF || time.Since(begun) != idle {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		service.Close()
	})
}
