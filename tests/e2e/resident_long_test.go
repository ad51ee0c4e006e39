//go:build long

package e2e

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"keygate/shared/database"
	loadwire "keygate/tests/load/wire"
)

const (
	residents = 1_000_000
	// The mark of the design, for the whole process.
	residentLimit = 250_000_000
)

// A million keys are used once and then again, so that all of them are answered from memory.
func TestAMillionKeysAreResident(t *testing.T) {
	dir := t.TempDir()
	env := []string{"DATABASE_URL=sqlite:" + filepath.Join(dir, "keys.db")}
	run(t, launch{program: proxyProgram, args: []string{"migrate", "up"}, env: env})
	keys := insertKeys(t, filepath.Join(dir, "keys.db"), residents)
	proxy := serve(t, proxyProgram, env, "--upstream", startStub(t), "--cache-ttl", "1h",
		"--source-rate", "1000000", "--source-concurrency", "2").ready()
	web := newClient(t)
	web.get(proxy.url, "X-API-Key", keys[0])
	empty := resident(t, proxy)
	for pass := range 3 {
		began := time.Now()
		useKeys(t, proxy.addr, keys)
		took, now := time.Since(began), resident(t, proxy)
		t.Logf("pass %d in %v: %.0f MB resident, %d bytes a key above the %.0f MB of an empty proxy; at most %.0f MB",
			pass, took, float64(now.now)/1e6, (now.now-empty.now)/residents, float64(empty.now)/1e6, float64(now.most)/1e6)
		if now.most > residentLimit {
			t.Errorf("%d bytes were resident, the mark is %d", now.most, residentLimit)
		}
	}
	if asked := proxy.sourceQueries(); asked > residents+residents/1000 {
		t.Errorf("%d look-ups of the source: memory does not hold a million keys", asked)
	}
}

// insertKeys fills keygate's own tables with keys of organizations with UUIDs, ten keys each.
func insertKeys(t *testing.T, path string, count int) (keys []string) {
	t.Helper()
	db, err := database.OpenSQLite(t.Context(), path, database.SQLiteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var org string
	exec := func(query string, args ...any) {
		if _, err := tx.ExecContext(t.Context(), query, args...); err != nil {
			t.Fatal(err)
		}
	}
	keys = make([]string, count)
	for i := range keys {
		if i%10 == 0 {
			var id [16]byte
			rand.Read(id[:])
			org = fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
			exec("insert into organizations (id, name) values ($1, 'resident')", org)
		}
		prefix := fmt.Sprintf("zap_live_%012d", i)
		keys[i] = guessed(prefix)
		hash := sha256.Sum256([]byte(keys[i]))
		exec("insert into api_keys (org_id, prefix, key_hash) values ($1, $2, $3)", org, prefix, hash[:])
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	return keys
}

// useKeys sends one request with each key and wants it let through.
func useKeys(t *testing.T, addr string, keys []string) {
	t.Helper()
	const connections = 32
	var all sync.WaitGroup
	for worker := range connections {
		all.Go(func() {
			conn, err := loadwire.Dial(t.Context(), addr, patience)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			var request []byte
			for i := worker; i < len(keys); i += connections {
				request = fmt.Appendf(request[:0], "GET / HTTP/1.1\r\nHost: resident\r\nX-API-Key: %s\r\n\r\n", keys[i])
				reply, err := conn.Exchange(request, time.Now())
				for err == nil && reply.Status == 503 { // on a busy machine half a second may be too short for a look-up
					reply, err = conn.Exchange(request, time.Now())
				}
				if err != nil || reply.Status != 200 {
					t.Errorf("key %d: %d %s, %v", i, reply.Status, reply.Body, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// startStub answers every request without a body, and keeps nothing.
func startStub(tb testing.TB) (url string) {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			group.Go(func() { stub(conn) })
		}
	})
	tb.Cleanup(func() { listener.Close(); group.Wait() })
	return "http://" + listener.Addr().String()
}

func stub(conn net.Conn) {
	defer conn.Close()
	buffer, have := make([]byte, 16<<10), 0
	for {
		n, err := conn.Read(buffer[have:])
		if err != nil {
			return
		}
		if have += n; bytes.HasSuffix(buffer[:have], []byte("\r\n\r\n")) {
			have = 0
			if _, err := conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")); err != nil {
				return
			}
		}
	}
}

type memory struct{ now, most int } // bytes

// resident reads how much of a process is in memory.
func resident(tb testing.TB, p *service) (m memory) {
	tb.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kilobytes, _ := strconv.Atoi(fields[1])
		switch fields[0] {
		case "VmRSS:":
			m.now = kilobytes << 10
		case "VmHWM:":
			m.most = kilobytes << 10
		}
	}
	return m
}
