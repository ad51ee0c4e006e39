package forward

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"keygate/proxy/header"
	"keygate/proxy/upstream"
	"keygate/shared/serving"
)

// suspendFor is how long a client may pause in its upload when the answer begins. Then the upload is given up: the
// handler cannot return while the client is being read, and nobody can tell whether more will come.
const suspendFor = time.Second

var (
	longAgo     = time.Unix(1, 0)
	errUnneeded = errors.New("the answer came before the request's body had been sent")
)

// upload sends a request's body while it comes in, and while the answer may be coming already. Its goroutine reads the
// client through fasthttp's stream, so it has ended or is suspended whenever fasthttp looks at that.
type upload struct {
	c        *call
	up       *upstream.Conn
	total    int64
	reading  chan struct{} // holds a token while the client is read, or must not be, and once nothing is left to read
	stopping atomic.Bool
	finished chan struct{}
	ended    time.Time // when finished was closed, and why the body was not sent to its end; to be read after that
	err      error
	client   bool // err is the client's

	suspended bool
}

// startUpload sends the head of the request, and the body from a goroutine of its own.
func (c *call) startUpload() error {
	if err := c.up.Begin(c.out, c.f.cfg.IdleTimeout); err != nil {
		return err
	}
	if err := c.f.begin(c); err != nil {
		return err
	}
	_ = c.up.Wait(time.Now().Add(c.f.cfg.ResponseTimeout))
	serving.Linger(c.ctx) // if the client is still sending when its connection is closed
	c.upload = &upload{c: c, up: c.up, reading: make(chan struct{}, 1), finished: make(chan struct{})}
	go c.upload.run()
	return nil
}

func (u *upload) run() {
	defer close(u.finished)
	frame := frames.Get().(*[frameSize]byte)
	defer frames.Put(frame)
	p := pipe{src: u, dst: u.up.Conn, reads: u.unlessStopping(u.c.ctx.SetReadDeadline),
		write: u.unlessStopping(u.up.SetWriteDeadline), idle: u.c.f.cfg.IdleTimeout, chunked: u.c.length == header.Chunked}
	end, broken := p.run(frame[:])
	switch {
	case broken != nil:
		u.err = broken
	case end == io.EOF && u.total < u.c.length:
		u.client, u.err = true, clientError(io.ErrUnexpectedEOF)
	case end == io.EOF && p.chunked:
		_, u.err = u.up.Write(lastChunk)
	case end != io.EOF:
		u.err = end
	}
	if u.client {
		u.up.Conn.Close() // lest the upstream take it for the end; and nobody need wait for an answer
	}
	u.ended = time.Now()
}

// unlessStopping sets deadlines that cannot replace the one by which stop ends a read or a write.
func (u *upload) unlessStopping(set func(time.Time) error) func(time.Time) error {
	return func(deadline time.Time) error {
		err := set(deadline)
		if u.stopping.Load() {
			err = set(longAgo)
		}
		return err
	}
}

// Read reads from the client.
func (u *upload) Read(p []byte) (int, error) {
	u.reading <- struct{}{}
	n, err := u.c.body.Read(p)
	if err == nil {
		<-u.reading
	}
	u.total += int64(n)
	switch {
	case u.c.tooLarge(u.total):
		u.client = true
		return 0, ErrBodyTooLarge
	case err == nil || err == io.EOF:
		return n, err
	case u.stopping.Load():
		return n, errUnneeded
	}
	u.client = true
	return n, clientError(err)
}

// answerBy is until when the answer is awaited once more, after it was awaited in vain: as long as the upload makes
// progress, it may take its time. An upstream that takes no more of the body may have said why.
func (u *upload) answerBy() time.Time {
	select {
	case <-u.finished:
		return u.ended.Add(u.c.f.cfg.ResponseTimeout)
	default:
		return time.Now().Add(u.c.f.cfg.ResponseTimeout)
	}
}

// stop ends the upload where it stands, and says whether the body was sent to its end.
func (u *upload) stop() (whole bool) {
	select {
	case <-u.finished:
	default:
		u.stopping.Store(true)
		_ = u.c.ctx.SetReadDeadline(longAgo)
		_ = u.up.SetWriteDeadline(longAgo)
		u.resume()
		<-u.finished
	}
	return u.err == nil
}

// settle is called when the answer has come, or has begun if it is streamed. A refusal stops the upload, but an upstream
// that merely answers early may still want the rest. So if the answer is streamed, the client is kept from being read
// until resume, that the handler may return while the upload goes on.
func (u *upload) settle(h Head, streamed bool) {
	var patience <-chan time.Time
	var suspend chan<- struct{}
	if streamed {
		patience, suspend = time.After(suspendFor), u.reading
	}
	if h.Status < 400 && (h.Keep || streamed) {
		select {
		case <-u.finished:
		case suspend <- struct{}{}:
			u.suspended = true
			return
		case <-patience:
		}
	}
	if !u.stop() {
		u.c.ctx.Response.Header.SetConnectionClose()
	}
}

func (u *upload) resume() {
	if u.suspended {
		<-u.reading
		u.suspended = false
	}
}
