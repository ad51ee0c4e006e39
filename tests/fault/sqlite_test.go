package fault

import (
	"path/filepath"
	"testing"
)

// killOnSQLite kills a writer again and again while clients send events, and looks at its file.
func killOnSQLite(t *testing.T, rounds int) {
	seed, url := newSeed(t), "sqlite:"+filepath.Join(t.TempDir(), "keygate.db")
	s := newStack(t, url, url)
	l, rng := s.newLoad(seed, faultClients), source(seed, -1)
	for range rounds {
		l.reaches(t, 1+rng.IntN(200))
		s.writer.kill()
		s.writer.start()
	}
	l.reaches(t, faultClients)
	request, gap := l.stalls()
	l.end()
	s.writer.stop()
	v := judge(t, url, l.book)
	db := connect(t, url)
	defer db.Close()
	var verdict string
	if err := db.QueryRowContext(t.Context(), "pragma integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
		t.Errorf("the check of the file says %q, %v", verdict, err)
	}
	t.Logf("%d rounds: %+v; longest request %v, longest silence %v; %s", rounds, v, request, gap, show(l.answers()))
}

func TestASQLiteFileOutlivesKilledWriters(t *testing.T) {
	t.Parallel()
	killOnSQLite(t, 5)
}
