package forward

import (
	"bufio"
	"bytes"
	"sync"
)

// A head may be what a client can send, and as much again of lines of ours.
var heads = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 2*maxHead) }}

// answerHere has the request answered in this process: with the head and the body that would be sent, and once more where
// an upstream would be asked again.
func (c *call) answerHere() error {
	end := bytes.Index(c.out, []byte("\r\n\r\n")) + len("\r\n\r\n")
	from := heads.Get().(*bufio.Reader)
	from.Reset(bytes.NewReader(c.out[:end]))
	err := c.ctx.Request.Header.Read(from)
	heads.Put(from)
	if err != nil {
		return bad(err)
	}
	c.ctx.Request.SetBodyRaw(c.out[end:])
	defer c.ctx.Request.ResetBody() // the bytes are the call's
	c.askHere()
	if c.mayAskAgain() {
		c.repeat(repeatPause)
		c.askHere()
	}
	return nil
}

// askHere leaves to the answer what it would bring along from a server of its own: a Date, and no say about the client's
// connection.
func (c *call) askHere() {
	answer := &c.ctx.Response
	answer.Reset()
	answer.Header.SetNoDefaultContentType(true)
	c.f.cfg.Local(c.ctx)
	answer.Header.ResetConnectionClose()
}
