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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	if slices.Equal(os.Args[1:], []string{crowdArgument}) {
		err = beCrowd(os.Stdin, os.Stdout) // and ends with who has started it, which a signal from the terminal reaches, too
	} else {
		err = measure(ctx, readOptions())
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}
