//go:build !linux

package poll

import (
	"errors"
	"time"
)

// Handler is who is told about a socket.
type Handler interface{ Readable(ended bool) }

// Poller is for Linux alone: New fails elsewhere.
type Poller struct{}

func New() (*Poller, error)                 { return nil, errors.ErrUnsupported }
func (*Poller) Add(int, Handler) error      { return errors.ErrUnsupported }
func (*Poller) Remove(int)                  {}
func (*Poller) Wait(time.Time) error        { return errors.ErrUnsupported }
func (*Poller) Dispatch() int               { return 0 }
func (*Poller) Watched([]Handler) []Handler { return nil }
func (*Poller) Wake()                       {}
func (*Poller) Close() error                { return nil }
