package serving

import (
	"errors"
	"fmt"
	"net"

	"github.com/valyala/fasthttp"

	"keygate/shared/limit"
	"keygate/shared/listen"
	"keygate/shared/problem"
	"keygate/shared/socket"
)

// Limits is how many connections may be open at once: limit.Config says more.
type Limits struct{ Total, PerAddress int }

// open opens the listener. Limits come before TLS: a handshake that stalls takes a place like any other connection.
func (c *Config) open() (net.Listener, error) {
	open := listen.Open
	if c.Shared {
		open = listen.OpenShared
	}
	inner, err := open(c.Listen)
	if err != nil {
		return nil, err
	}
	limits := limit.Config{
		Total: c.Limits.Total, PerAddress: c.Limits.PerAddress,
		Logger: c.Logger, Metrics: c.Metrics.connections,
	}
	if c.TLS == nil { // an answer would need a handshake first
		limits.Answer = written(problem.Problem{
			Code: problem.Unavailable, Detail: "Too many connections are open. Try again shortly.",
		})
	}
	ln, err := limit.New(socket.Listen(listen.Patient(inner, c.Logger)), limits)
	if err != nil {
		return nil, fmt.Errorf("limiting connections: %w", errors.Join(err, inner.Close()))
	}
	if c.TLS == nil {
		return ln, nil
	}
	return c.TLS.Listen(ln, c.ReadTimeout, written(problem.Problem{
		Code: problem.BadRequest, Detail: "This port speaks HTTPS: use https:// instead of http://.",
	})), nil
}

// written is an answer that ends its connection, for where there is no request to be answered. It has no Date: it is
// written once.
func written(p problem.Problem) []byte {
	var response fasthttp.Response
	p.Write(&response)
	status := response.StatusCode()
	text := fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nConnection: close\r\n", status, fasthttp.StatusMessage(status))
	for _, name := range []string{fasthttp.HeaderContentType, fasthttp.HeaderRetryAfter} {
		if value := response.Header.Peek(name); len(value) > 0 {
			text = fmt.Appendf(text, "%s: %s\r\n", name, value)
		}
	}
	return fmt.Appendf(text, "Content-Length: %d\r\n\r\n%s", len(response.Body()), response.Body())
}
