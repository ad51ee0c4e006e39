package lifecycle

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"
)

// Part is a part of a program: it blocks until ctx ends or it fails.
type Part func(ctx context.Context) error

// Serve runs front until ctx ends, and what is behind it as long as front runs and not one moment less: it is stopped
// when front has returned. A part behind that fails stops front. The errors of the end that was asked for are none.
func Serve(ctx context.Context, front Part, behind ...Part) error {
	base, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, base := errgroup.WithContext(base)
	for _, part := range behind {
		group.Go(func() error { return part(base) })
	}
	serving, end := context.WithCancel(ctx)
	defer end()
	defer context.AfterFunc(base, end)()

	err := front(serving)
	stop()
	if failed := group.Wait(); failed != nil && !errors.Is(failed, context.Canceled) {
		err = errors.Join(err, failed)
	}
	return err
}
