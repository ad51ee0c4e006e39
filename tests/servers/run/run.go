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

// run returns the command's exit code. An error is our own trouble, before the command or after.
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
	return execute(cmd, signals)
}

// execute passes signals on, and lets the command decide what they mean.
func execute(cmd *exec.Cmd, signals <-chan os.Signal) (code int, err error) {
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case received := <-signals:
			_ = cmd.Process.Signal(received) // it may have ended meanwhile
		case err = <-ended:
			if code := cmd.ProcessState.ExitCode(); code >= 0 {
				return code, nil
			}
			return 1, fmt.Errorf("%s: %w", cmd.Path, err)
		}
	}
}
