// Command run starts one PostgreSQL and one Redis, runs a command that finds their URLs in its environment, and ends
// with that command's exit code:
//
//	go run ./tests/servers/run -- go test ./...
//
// Without it each test process starts servers of its own, which costs it two seconds.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"keygate/tests/servers"
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

func run(command []string) (code int, err error) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)

	postgres, err := servers.OpenPostgres()
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, postgres.Close()) }()
	redis, err := servers.OpenRedis()
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, redis.Close()) }()

	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(),
		servers.PostgresVariable+"="+postgres.URL("postgres"), servers.RedisVariable+"="+redis.URL())
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	go func() { // ends with the program
		for received := range signals {
			_ = cmd.Process.Signal(received)
		}
	}()
	if err := cmd.Wait(); err != nil && cmd.ProcessState == nil {
		return 1, err
	}
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		return code, nil
	}
	return 1, fmt.Errorf("%s: %s", command[0], cmd.ProcessState)
}
