// Command run starts one PostgreSQL and one Redis, runs a command that finds their URLs in its environment, and ends
// with that command's exit code:
//
//	go run ./tests/servers/run -- go test ./...
//
// Without it each test process starts servers of its own, which takes it two seconds.
package main

import (
	"fmt"
	"os"
)

func main() {
	command := os.Args[1:]
	if len(command) > 0 && command[0] == "--" {
		command = command[1:]
	}
	if len(command) == 0 {
		fmt.Fprintln(os.Stderr, "usage: run -- COMMAND [ARGUMENT…]")
		os.Exit(2)
	}
	code, err := run(command)
	if err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}
