// Package listen opens the listeners of both programs, on TCP or on a Unix socket.
package listen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Sockets may be used by their owner and group: who is in the group is trusted like who holds the secret.
const socketMode fs.FileMode = 0o660

// Open listens on address: host:port, or unix:PATH. A socket file that nobody listens on any more is replaced.
// Errors say what to do.
func Open(address string) (net.Listener, error) {
	path, isUnix := strings.CutPrefix(address, "unix:")
	if !isUnix {
		return open(address, net.ListenConfig{})
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, explain(address, err)
	}
	if err := os.Chmod(path, socketMode); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the socket to its group: %w", err), ln.Close())
	}
	return ln, nil
}

// OpenShared listens on a host:port that other processes of the same user may listen on as well, if they all open it so:
// the kernel deals new connections out among them, and each connection stays with its process.
func OpenShared(address string) (net.Listener, error) {
	return open(address, net.ListenConfig{Control: func(_, _ string, socket syscall.RawConn) error {
		var refused error
		err := socket.Control(func(fd uintptr) {
			refused = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		})
		return errors.Join(err, refused)
	}})
}

func open(address string, how net.ListenConfig) (net.Listener, error) {
	ln, err := how.Listen(context.Background(), "tcp", address)
	return ln, explain(address, err)
}

func explain(address string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s is in use by another program: stop that one or listen elsewhere", address)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("listening on %s is not permitted to this user", address)
	}
	return fmt.Errorf("listening on %s: %w", address, err)
}

func removeStale(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s exists and is no socket: remove it or listen elsewhere", path)
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
		return explain("unix:"+path, syscall.EADDRINUSE)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("looking whether the socket %s is in use: %w", path, err)
	}
	return os.Remove(path)
}

// Peer is the address at the other end of a connection, without a zone and an IPv4 address as such. It is the zero Addr
// on a Unix socket.
func Peer(conn net.Conn) netip.Addr {
	tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}

// IsLocal says whether only this machine can reach address: a loopback address or a Unix socket.
func IsLocal(address string) bool {
	if strings.HasPrefix(address, "unix:") {
		return true
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
