package main

import (
	"bytes"
	"errors"
	"net"
	"strconv"
	"time"
)

// client is one connection with one request in flight. It belongs to one goroutine.
type client struct {
	addr   string
	conn   net.Conn
	buffer []byte
}

func newClient(addr string) *client {
	return &client{addr: addr, buffer: make([]byte, 2048)}
}

// ask presents a key and returns the status of the answer. A connection that the proxy has closed is replaced.
func (c *client) ask(key string) (status int, err error) {
	fresh := c.conn == nil
	if fresh {
		if err := c.connect(); err != nil {
			return 0, err
		}
	}
	status, closing, err := c.exchange(key)
	if err != nil || closing {
		c.close()
	}
	if err != nil && !fresh && !errors.Is(err, errTimeout) {
		return c.ask(key)
	}
	return status, err
}

func (c *client) connect() (err error) {
	c.conn, err = net.DialTimeout("tcp4", c.addr, patience)
	return err
}

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close() // nothing is under way that could be lost
		c.conn = nil
	}
}

var (
	errTimeout = errors.New("there is no answer")
	errAnswer  = errors.New("the answer is none that is understood")
)

// appendAsk writes the request that presents a key.
func appendAsk(dst []byte, key string) []byte {
	return append(append(append(dst, "GET / HTTP/1.1\r\nHost: fleet\r\nX-API-Key: "...), key...), "\r\n\r\n"...)
}

func (c *client) exchange(key string) (status int, closing bool, err error) {
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, false, err
	}
	if _, err := c.conn.Write(appendAsk(c.buffer[:0], key)); err != nil {
		return 0, false, err
	}
	for have := 0; have < len(c.buffer); {
		n, err := c.conn.Read(c.buffer[have:])
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			return 0, false, errTimeout
		} else if err != nil {
			return 0, false, err
		}
		have += n
		if status, closing, whole := readAnswer(c.buffer[:have]); whole && status == 0 {
			break
		} else if whole {
			return status, closing, nil
		}
	}
	return 0, false, errAnswer
}

// readAnswer says whether an answer has come whole, and whether its connection ends with it. A status of 0 says that it is
// none that is understood.
func readAnswer(got []byte) (status int, closing, whole bool) {
	head, body, found := bytes.Cut(got, []byte("\r\n\r\n"))
	if !found {
		return 0, false, false
	}
	status, length := parse(head)
	if status == 0 || length < 0 {
		return 0, true, true
	}
	return status, bytes.Contains(head, []byte("Connection: close")), len(body) >= length
}

// parse reads what every answer of the proxy has: a status, and the length of its body.
func parse(head []byte) (status, length int) {
	const protocol, name = "HTTP/1.1 ", "\r\nContent-Length: "
	if len(head) < len(protocol)+3 {
		return 0, -1
	}
	status, _ = strconv.Atoi(string(head[len(protocol) : len(protocol)+3]))
	_, rest, found := bytes.Cut(head, []byte(name))
	if !found {
		return status, -1
	}
	digits, _, _ := bytes.Cut(rest, []byte("\r\n"))
	length, err := strconv.Atoi(string(digits))
	if err != nil {
		return status, -1
	}
	return status, length
}

// passes says whether a status is the upstream's, which lets everybody through.
func passes(status int) bool { return status/100 == 2 }
