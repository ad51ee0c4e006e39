// Command fleet measures on the built proxy how soon a change is refused by every proxy, how late it can be when nobody
// can hear of it, and what a flood of keys that do not exist costs those whose keys do. Four proxies run over one PostgreSQL
// and one Redis that it starts itself, under traffic that goes on meanwhile. See fleet -help.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

func main() {
	if slices.Equal(os.Args[1:], []string{crowdArgument}) {
		end(beCrowd(os.Stdin, os.Stdout))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := measure(ctx, readOptions())
	stop()
	end(err)
}

func end(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
	os.Exit(0)
}
