package main

import (
	"context"
)

func measureBounds(ctx context.Context, b *bench, o options) (*result, error) { return nil, nil }
func measureFloods(ctx context.Context, b *bench, o options) (*result, error) { return nil, nil }
