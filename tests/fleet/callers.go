package main

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"keygate/shared/poll"
	"keygate/shared/socket"
)

// callers are the clients of a crowd, all of which one goroutine serves: with one for each they took a quarter of the
// machine, which is the customers' as well.
type callers struct {
	plan    crowdPlan
	next    func(i int) string // key
	poller  *poll.Poller
	all     []*caller
	sent    int // keys presented
	waiting int // callers, for their answer
	every   time.Duration
	answers map[int]int
	buffer  []byte
}

// caller is one connection with one request in flight.
type caller struct {
	of       *callers
	addr     string
	from     net.IP
	fd       int       // 0: there is no connection
	due      time.Time // when the next request is
	asked    time.Time // when that was sent whose answer is awaited; zero: none
	answered []byte
}

// tick is how often callers look who is to send.
const tick = time.Millisecond

func newCallers(plan crowdPlan) (*callers, error) {
	poller, err := poll.New()
	if err != nil {
		return nil, err
	}
	a := &callers{plan: plan, next: plan.Keys.source(plan.Good), poller: poller, buffer: make([]byte, 4096)}
	for i := range plan.Size * len(plan.Proxies) {
		one := &caller{of: a, addr: plan.Proxies[i%len(plan.Proxies)], from: net.IPv4(127, 0, 0, 1)}
		if plan.Scattered {
			one.from = net.IPv4(127, 1, byte(i>>8), byte(i))
		}
		a.all = append(a.all, one)
	}
	return a, nil
}

// press presents keys at a rate in all until that is enough, and returns how often each status was the answer; 0 is none.
func (a *callers) press(rate float64, enough <-chan error) (map[int]int, error) {
	a.answers = make(map[int]int)
	a.every = time.Duration(float64(len(a.all)) / rate * float64(time.Second))
	began := time.Now()
	for i, c := range a.all {
		c.due = began.Add(a.every * time.Duration(i) / time.Duration(len(a.all)))
	}
	var heard error
	for sending := true; sending || a.waiting > 0; {
		now := time.Now()
		for _, c := range a.all {
			c.turn(now, sending)
		}
		if err := a.poller.Wait(now.Add(tick)); err != nil {
			return nil, err
		}
		a.poller.Dispatch()
		select {
		case heard = <-enough:
			sending = false
		default:
		}
	}
	return a.answers, heard
}

// turn sends the next request if it is due, and gives up waiting for an answer that does not come.
func (c *caller) turn(now time.Time, sending bool) {
	switch {
	case !c.asked.IsZero():
		if now.Sub(c.asked) > patience {
			c.told(0, true)
		}
	case sending && !now.Before(c.due):
		c.ask(now)
	}
}

func (c *caller) ask(now time.Time) {
	c.asked, c.answered = now, c.answered[:0]
	c.of.waiting++
	if c.fd == 0 && c.connect() != nil {
		c.told(0, true)
		return
	}
	request := appendAsk(c.of.buffer[:0], c.of.next(c.of.sent))
	c.of.sent++
	if _, err := socket.Write(uintptr(c.fd), request); err != nil {
		c.told(0, true)
	}
}

// connect takes the descriptor of a connection, which Go's own poller would watch in vain.
func (c *caller) connect() error {
	dialer := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: c.from}}
	conn, err := dialer.Dial("tcp4", c.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { c.fd, failed = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return err
	}
	if failed == nil {
		failed = c.of.poller.Add(c.fd, c)
	}
	return failed
}

// Readable implements poll.Handler.
func (c *caller) Readable(ended bool) {
	n, err := socket.Read(uintptr(c.fd), c.of.buffer)
	if err == syscall.EAGAIN {
		return
	}
	c.answered = append(c.answered, c.of.buffer[:max(n, 0)]...)
	status, closing, whole := readAnswer(c.answered)
	switch {
	case c.asked.IsZero() || err != nil:
		c.told(0, true)
	case whole:
		c.told(status, ended || closing)
	case ended:
		c.told(0, true)
	}
}

// told ends the wait for an answer, if there was one. What could not be sent meanwhile is not made up for.
func (c *caller) told(status int, closing bool) {
	if closing && c.fd > 0 {
		c.of.poller.Remove(c.fd)
		_ = unix.Close(c.fd) // nothing is under way that could be lost
		c.fd = 0
	}
	if c.asked.IsZero() {
		return
	}
	c.of.waiting--
	c.of.answers[status]++
	c.due, c.asked = c.due.Add(c.of.every), time.Time{}
	if now := time.Now(); c.due.Before(now) {
		c.due = now
	}
}
