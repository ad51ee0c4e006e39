package serving

import (
	"errors"
	"fmt"
	"net"

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
		limits.Answer = problem.Problem{
			Code: problem.Unavailable, Detail: "Too many connections are open. Try again shortly.",
		}.Append(nil, true)
	}
	ln, err := limit.New(socket.Listen(listen.Patient(inner, c.Logger)), limits)
	if err != nil {
		return nil, fmt.Errorf("limiting connections: %w", errors.Join(err, inner.Close()))
	}
	if c.TLS == nil {
		return ln, nil
	}
	return c.TLS.Listen(ln, c.ReadTimeout, problem.Problem{
		Code: problem.BadRequest, Detail: "This port speaks HTTPS: use https:// instead of http://.",
	}.Append(nil, true)), nil
}
