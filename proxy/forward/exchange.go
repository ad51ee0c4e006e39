// Package forward makes one upstream call for a request that fasthttp has read, and fills the answer in.
//
// It owns the round trip: the bytes of the request, and a strict reading of the answer. Requests and answers are
// fasthttp's types, but its client is not used: that reads framing leniently, repeats requests that may have been
// executed, and neither streams both ways at once nor upgrades.
package forward

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"keygate/proxy/upstream"
)

// The errors of Forward, to be told apart by errors.Is. With an error, nothing of an answer has reached the client and
// ctx.Response is the caller's to fill. What goes wrong later truncates the answer, and is no error of Forward.
var (
	ErrUnreachable   = upstream.ErrUnreachable                                                 // 502
	ErrUncertain     = fmt.Errorf("%w: it broke off after something was sent", ErrUnreachable) // 502; it may have done it
	ErrBadResponse   = errors.New("the upstream's answer breaks HTTP/1.1")                     // 502
	ErrTimeout       = errors.New("the upstream did not answer in time")                       // 504
	ErrBusy          = upstream.ErrBusy                                                        // 503
	ErrBodyTooLarge  = errors.New("the request body is larger than allowed")                   // 413
	ErrClientBody    = errors.New("the client's request body broke off")                       // 400
	ErrClientTimeout = errors.New("the client's request body came too slowly")                 // 408
)

// Config is what a Forwarder is built from.
type Config struct {
	Upstreams  *upstream.Set
	Idempotent []string // raw prefixes under which a request may be executed twice

	// Local, unless nil, is the default upstream itself, in this process. It is called with each request that is held, as
	// it would be sent, and fills in the answer, as short as those that are held. It says itself how long that may take,
	// and keeps nothing of the request. Other requests are sent.
	Local fasthttp.RequestHandler

	ResponseTimeout time.Duration // from the end of the request to the end of the answer's head; 30 s if 0
	IdleTimeout     time.Duration // of a body that stalls, and of a tunnel; 60 s if 0
	MaxBody         int64         // bytes of a request body; no limit if 0

	Registerer prometheus.Registerer // to be set
}

// Exchange is what Forward sends of a request besides its method and body, both of which it takes from ctx.
type Exchange struct {
	// Header is complete lines, each with its CR LF: Host among them, without framing, hop-by-hop and Upgrade lines, and
	// without the empty line. It is sent byte by byte, and not used after Forward has returned.
	Header []byte

	// Target is the path and query to send, by which the route is chosen too.
	Target []byte

	// Upgrade is the protocol that the client asks to switch to, "" for none. If the upstream switches, the two
	// connections are spliced once the handler has returned. It is ignored in a request with a body.
	Upgrade string

	// Begun, unless nil, says that an attempt is under way. Header is not looked at then.
	Begun *Begun

	// Watch, unless nil, is called if the exchange may take long: its request body or its answer is streamed, or it
	// becomes a tunnel. cut may be called by any goroutine at any time, also too late, and breaks the exchange off on
	// both sides. stop is called once when the exchange has ended, possibly after Forward returned.
	Watch func(cut func()) (stop func())
}

// Begun is a first attempt that somebody else has made, up to the point where Forward is to go on with it.
type Begun struct {
	Request []byte         // as it was sent, to be sent once more if need be
	Unsent  []byte         // its rest, which the socket did not take
	Up      *upstream.Conn // that it was sent on; Resume has been called
	At      time.Time      // when it began

	RequestID []byte // the one that the upstream was told, if it is not the client's own
}
