package lifecycle_test

import (
	"context"
	"errors"
	"testing"

	"keygate/shared/lifecycle"
)

func TestWhatIsBehindOutlivesTheFront(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var ended []string
	err := lifecycle.Serve(ctx,
		func(ctx context.Context) error {
			cancel()
			<-ctx.Done()
			ended = append(ended, "front")
			return nil
		},
		func(ctx context.Context) error {
			<-ctx.Done()
			ended = append(ended, "behind")
			return ctx.Err()
		})
	if err != nil || len(ended) != 2 || ended[0] != "front" {
		t.Errorf("got %v, %v", ended, err)
	}
}

func TestAFailureBehindStopsTheFront(t *testing.T) {
	broken := errors.New("broken")
	err := lifecycle.Serve(t.Context(),
		func(ctx context.Context) error { <-ctx.Done(); return nil },
		func(context.Context) error { return broken },
		func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
