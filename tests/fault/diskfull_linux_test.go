package fault

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"keygate/tests/servers"
)

// largeEvent has a payload of about a MiB that cannot be compressed to less than half of it.
func largeEvent(rng *rand.Rand) string {
	text := make([]byte, 512<<10)
	for i := range text {
		text[i] = byte(rng.Uint32())
	}
	return fmt.Sprintf(`{"type":"a","payload":{"text":%q}}`, hex.EncodeToString(text))
}

// fill sends large events until one is not stored, and returns how many were.
func (d *direct) fill() (stored int) {
	d.tb.Helper()
	rng := source(newSeed(d.tb), -1)
	for ; stored < 100; stored++ {
		got := d.send(largeEvent(rng))
		if got.status != 201 {
			is(d.tb, got, 507, "disk_full")
			return stored
		}
	}
	d.tb.Fatal("the disk was not full")
	return 0
}

// A limit on the size of files makes a write fall short that would extend one, which the server takes for a full disk. It
// is not a multiple of the pages, so that the first part of one still fits.
func TestAFullDiskOfPostgresIs507UntilThereIsRoom(t *testing.T) {
	t.Parallel()
	server := servers.StartPostgres(t)
	d := newDirect(t, server.Database(t), "")
	data := read(t, d.url, "select current_setting('data_directory')")
	pidFile, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, _, _ := strings.Cut(string(pidFile), "\n")
	limit := exec.Command("prlimit", "--pid", pid, fmt.Sprintf("--fsize=%d:", 17<<20+4<<10)) // a segment of the log has 16 MiB
	limit.SysProcAttr = &syscall.SysProcAttr{Credential: ownerOf(t, data)}
	if output, err := limit.CombinedOutput(); err != nil {
		t.Fatalf("prlimit: %v\n%s", err, output)
	}
	execute(t, d.url, `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'keygate-writer'`)
	stored := d.fill()
	is(t, d.send(event), 201, accepted) // there is room in another file
	if n := ask(t, d.url, "select count(*) from events e join event_deliveries d on d.event_id = e.id"); n != stored+1 {
		t.Errorf("%d events are stored, and %d acknowledged", n, stored+1)
	}
	execute(t, d.url, "truncate events, event_deliveries")
	is(t, d.send(largeEvent(source(1, 1))), 201, accepted)
}

// The file is on a disk of its own, which is full before long. Nobody but the writer sees it there.
func TestAFullDiskOfSQLiteIs507UntilThereIsRoom(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := "sqlite:" + filepath.Join(dir, "keygate.db")
	w := newProgram(t, "writer", []string{"DATABASE_URL=" + file}, "--trust-network")
	const script = `mount -t tmpfs -o size=16m none "$1" && head -c 6M /dev/zero >"$1/other" && "$2" migrate up && shift && exec "$@"`
	w.args = append([]string{"--map-root-user", "--mount", "sh", "-c", script, "sh", dir, w.path}, w.args...)
	w.path = "unshare"
	d := &direct{program: w, web: newWeb(t)}
	d.start()
	d.ready()
	stored := d.fill()
	seen := fmt.Sprintf("/proc/%d/root%s", w.cmd.Process.Pid, dir)
	if err := os.Remove(filepath.Join(seen, "other")); err != nil {
		t.Fatal(err)
	}
	is(t, d.send(largeEvent(source(1, 1))), 201, accepted)
	d.url = "sqlite:" + filepath.Join(t.TempDir(), "keygate.db")
	for _, name := range []string{"keygate.db", "keygate.db-wal"} { // a link in the path would lead SQLite out of there again
		text, err := os.ReadFile(filepath.Join(seen, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(filepath.Dir(strings.TrimPrefix(d.url, "sqlite:")), name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := ask(t, d.url, "select count(*) from events e join event_deliveries d on d.event_id = e.id"); n != stored+1 {
		t.Errorf("%d events are stored, and %d acknowledged", n, stored+1)
	}
	if verdict := read(t, d.url, "pragma integrity_check"); verdict != "ok" {
		t.Errorf("the check of the file says %q", verdict)
	}
}
