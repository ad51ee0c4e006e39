package servers

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
)

// Ports are taken from below the range that Linux gives to outgoing connections (32768 and up). A client that dials a
// stopped server again and again could otherwise be given that very port as its own, and be connected to itself.
const (
	firstPort = 12000
	lastPort  = 31999
)

// Another process may take a port between our look and the server's bind. Five times in a row is no accident.
const bindAttempts = 5

var errPortTaken = errors.New("the port was taken by another process")

func freePort() (int, error) {
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		listener, err := net.Listen("tcp4", address(port))
		if err == nil {
			return port, listener.Close()
		}
	}
	return 0, fmt.Errorf("no free port found from %d to %d", firstPort, lastPort)
}

// withFreePort calls start with free ports until it succeeds or fails for another reason than the port.
func withFreePort(start func(port int) error) error {
	var err error
	for range bindAttempts {
		var port int
		if port, err = freePort(); err != nil {
			return err
		}
		if err = start(port); !errors.Is(err, errPortTaken) {
			return err
		}
	}
	return err
}

// diedStarting explains a server that ended before it answered, by the end of its own log.
func diedStarting(name, logPath string) error {
	text, err := os.ReadFile(logPath)
	if err != nil {
		return fmt.Errorf("%s ended while starting: reading its log: %w", name, err)
	}
	if strings.Contains(string(text), "Address already in use") {
		return fmt.Errorf("starting %s: %w", name, errPortTaken)
	}
	const tail = 2000
	if len(text) > tail {
		text = text[len(text)-tail:]
	}
	return fmt.Errorf("%s ended while starting; its log ends:\n%s", name, text)
}
