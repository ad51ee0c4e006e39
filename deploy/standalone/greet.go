package main

import (
	"fmt"
	"io"
	"net"

	proxyapp "keygate/proxy/app"
	writerapp "keygate/writer/app"
)

// greet prints where everything is, and a line to paste.
func (s *stack) greet(out io.Writer, proxy *proxyapp.App, writer *writerapp.App) {
	events := url(proxy.Scheme(), proxy.Addr()) + "/v1/events"
	fmt.Fprintf(out, `
keygate is running; Ctrl-C stops it.

  events        %s
  proxy admin   %s/
  writer admin  %s/
  data          %s
`, events, url("http", proxy.AdminAddr()), url("http", writer.AdminAddr()), s.dataDir)
	if verify := proxy.VerifyAddr(); verify != nil {
		fmt.Fprintf(out, "  verify        %s/\n", url("http", verify))
	}
	if s.demoKey == "" {
		fmt.Fprint(out, "\nMake a key with `standalone keys create --org-name NAME`, with the same DATABASE_URL.\n\n")
		return
	}
	fmt.Fprintf(out, `  demo key      %s

Send an event:

  curl -i %s -H 'X-API-Key: %s' -H 'Content-Type: application/json' -d '{"type":"demo.created","payload":{"hello":"world"}}'

`, s.demoKey, events, s.demoKey)
}

func url(scheme string, addr net.Addr) string {
	if addr.Network() == "unix" {
		return "unix:" + addr.String()
	}
	return scheme + "://" + reachable(addr)
}
