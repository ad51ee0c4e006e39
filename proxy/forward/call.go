package forward

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/valyala/fasthttp"

	"keygate/proxy/header"
	"keygate/proxy/upstream"
	"keygate/shared/problem"
)

// repeatPause lets an upstream that refused come back, if there is no other to ask.
const repeatPause = 25 * time.Millisecond

// call is one Forward.
type call struct {
	f        *Forwarder
	ctx      *fasthttp.RequestCtx
	exchange Exchange

	out        []byte    // the head of the request and, if it is held, its body
	body       io.Reader // the body if it is not held
	length     int64     // of body, header.Chunked if unknown
	isHead     bool
	http11     bool // the client's version
	safe       bool // GET, HEAD or OPTIONS, without a body
	idempotent bool // may be executed twice, and is held
	repeated   bool
	doubtful   bool // an attempt was sent and broke off: it may have been executed
	refused    bool // ctx.Response holds a 503 that is being asked again

	lines  header.Lines        // of the answer; they alias the connection's buffer
	up     *upstream.Conn      // nil: none was had
	upload *upload             // nil unless body is being sent
	end    func() (uncut bool) // nil unless the exchange may take long
	goesOn bool                // after Forward: the call is not used again
}

func (c *call) release() {
	if cap(c.out) > 2*maxHeld {
		c.out = nil
	}
	*c = call{f: c.f, out: c.out[:0], lines: c.lines[:0]}
	c.f.calls.Put(c)
}

func (c *call) run() error {
	if err := c.prepare(); err != nil {
		if begun := c.exchange.Begun; begun != nil {
			begun.Up.Release(false)
		}
		return err
	}
	g := c.f.cfg.Upstreams.Route(c.exchange.Target)
	if c.f.cfg.Local != nil && c.body == nil && g.IsDefault() {
		return c.answerHere()
	}
	err := c.try(g)
	if c.doubtful && (err != nil || c.saysUnavailable()) {
		return ErrUncertain // whoever answered the repeat knows nothing of what came before
	}
	if c.refused {
		return nil // a 503 that was asked again in vain stands
	}
	return err
}

// try makes attempts until one is to be the last. What was sent is sent once more at most.
func (c *call) try(g *upstream.Group) error {
	for {
		switch err := c.attempt(g); {
		case err == nil && !c.mayAskAgain():
			return nil
		case err == nil:
			c.refused = true
			c.repeat(repeatPause)
		case errors.Is(err, upstream.ErrStale): // nothing was sent: take another connection
		case c.up == nil: // no upstream let us connect
			if !c.idempotent || c.repeated || errors.Is(err, ErrBusy) {
				return err
			}
			c.repeat(repeatPause)
		default:
			c.doubtful = c.doubtful || c.up.Sent && !c.safe && errors.Is(err, ErrUnreachable)
			if !c.mayRepeat(err) {
				return err
			}
			c.repeat(0)
		}
	}
}

func (c *call) repeat(pause time.Duration) {
	c.repeated = true
	c.f.metrics.repeats.Inc()
	time.Sleep(pause)
}

// mayRepeat says whether a request that was sent, as far as we know, may be sent again on a new connection.
func (c *call) mayRepeat(err error) bool {
	if c.repeated || c.upload != nil || !errors.Is(err, ErrUnreachable) {
		return false
	}
	return c.idempotent || !c.up.Sent || c.safe && c.up.Reused && !c.up.Answered
}

// mayAskAgain leaves out the one refusal that says all there is to know: whoever answered a repeat would know less, and
// say that an event was not stored which may have been.
func (c *call) mayAskAgain() bool {
	return c.idempotent && !c.repeated && c.saysUnavailable() && !bytes.Contains(c.ctx.Response.Body(), commitUnknown)
}

var commitUnknown = []byte(`"code":"` + string(problem.CommitUnknown) + `"`)

func (c *call) saysUnavailable() bool {
	return !c.goesOn && c.ctx.Response.StatusCode() == fasthttp.StatusServiceUnavailable
}

// attempt asks one upstream. After an error nothing goes on, and the connection is closed.
func (c *call) attempt(g *upstream.Group) error {
	var h Head
	err := c.send(g)
	if c.up == nil {
		return err
	}
	if err == nil {
		h, err = c.readHead()
	}
	if err == nil {
		c.up.Succeeded()
		err = c.answer(h)
	}
	if err == nil {
		return nil
	}
	failed := c.up
	c.drop(false)
	if c.up = failed; c.upload != nil && c.upload.client {
		return c.upload.err
	}
	if err = upstreamError(err); err == ErrTimeout {
		failed.TimedOut()
	}
	return err
}

// send has the request on its way, or leaves it to the reading of the answer. It leaves no connection if none was had.
func (c *call) send(g *upstream.Group) (err error) {
	if begun := c.exchange.Begun; begun != nil {
		c.exchange.Begun, c.up = nil, begun.Up
		if len(begun.Unsent) > 0 {
			var n int
			n, err = c.up.Write(begun.Unsent)
			c.up.Sent = c.up.Sent || n > 0
		}
		return err
	}
	if c.up, err = g.Get(c.repeated); err != nil {
		return err
	}
	if c.body == nil {
		return c.up.Send(c.out, c.f.cfg.ResponseTimeout)
	}
	return c.startUpload()
}

// drop ends what belongs to the exchange, unless it has ended, and gives its connection back.
func (c *call) drop(reuse bool) {
	if c.up == nil {
		return
	}
	if c.upload != nil {
		reuse = c.upload.stop() && reuse
	}
	if c.end != nil {
		reuse = c.end() && reuse
	}
	c.up.Release(reuse)
	c.end, c.up = nil, nil
}

// upstreamError gives an error of the connection to an upstream its kind.
func upstreamError(err error) error {
	switch {
	case errors.Is(err, upstream.ErrStale), errors.Is(err, ErrBadResponse), errors.Is(err, ErrUnreachable):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrTimeout
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}
