package listen_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keygate/shared/listen"
)

func TestAPortInUseIsNamed(t *testing.T) {
	first, err := listen.Open("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := listen.Open(first.Addr().String()); err == nil || !strings.Contains(err.Error(), "in use by another program") {
		t.Errorf("got %v", err)
	}
}

func TestAPortIsSharedOnlyByThoseWhoSaySo(t *testing.T) {
	first, err := listen.OpenShared("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := listen.Open(first.Addr().String()); err == nil || !strings.Contains(err.Error(), "in use by another program") {
		t.Errorf("one that does not share: got %v", err)
	}
	second, err := listen.OpenShared(first.Addr().String())
	if err != nil {
		t.Fatalf("one that shares: %v", err)
	}
	defer second.Close()
	accepts := func(ln net.Listener, met chan<- net.Listener) {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			c.Close()
			met <- ln
		}
	}
	met := make(chan net.Listener, 1)
	go accepts(first, met)
	go accepts(second, met)
	for seen := map[net.Listener]bool{}; len(seen) < 2; {
		c, err := net.Dial("tcp", first.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		seen[<-met] = true
		c.Close()
	}
}

func TestASocketIsOpenToItsGroupAndReplacedWhenStale(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := listen.Open("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := listen.Open("unix:" + path); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a socket in use: %v", err)
	}
	first.(*net.UnixListener).SetUnlinkOnClose(false)
	first.Close()
	second, err := listen.Open("unix:" + path)
	if err != nil {
		t.Fatalf("a stale socket: %v", err)
	}
	second.Close()
}

func TestAFileIsNotReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listen.Open("unix:" + path); err == nil {
		t.Error("listened over a file")
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "mine" {
		t.Errorf("the file is %q, %v", text, err)
	}
}

func TestIsLocal(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:1": true, "127.9.9.9:1": true, "[::1]:1": true, "localhost:1": true, "unix:/run/x": true,
		":1": false, "0.0.0.0:1": false, "[::]:1": false, "10.0.0.1:1": false, "example.com:1": false, "": false,
	} {
		if got := listen.IsLocal(address); got != want {
			t.Errorf("IsLocal(%q) = %v", address, got)
		}
	}
}
