package counters

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listener shows one page after another, and the last one from then on.
func listener(tb testing.TB, pages ...string) string {
	tb.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(pages[0]))
		if len(pages) > 1 {
			pages = pages[1:]
		}
	}))
	tb.Cleanup(server.Close)
	return server.URL
}

const proxyBefore = `# HELP keygate_proxy_lookups_total Look-ups of a prefix.
# TYPE keygate_proxy_lookups_total counter
keygate_proxy_lookups_total{outcome="hit",tier="memory"} 1000
keygate_proxy_lookups_total{outcome="miss",tier="memory"} 10
keygate_proxy_source_queries_total 7
go_goroutines 12
`

const proxyAfter = `keygate_proxy_lookups_total{outcome="hit",tier="memory"} 1970
keygate_proxy_lookups_total{outcome="negative",tier="memory"} 10
keygate_proxy_lookups_total{outcome="miss",tier="memory"} 30
keygate_proxy_lookups_total{tier="redis",outcome="hit"} 15 1700000000000
keygate_proxy_lookups_total{tier="redis",outcome="miss"} 5
keygate_proxy_lookups_total{tier="source",outcome="hit"} 5
keygate_proxy_source_queries_total 1.1e+01
`

const writerBefore = "keygate_writer_statements_total{kind=\"insert\"} 5\n"

const writerAfter = `keygate_writer_statements_total{kind="find"} 2
keygate_writer_statements_total{kind="insert"} 45
`

func between(tb testing.TB, proxies, writers []string) Usage {
	tb.Helper()
	before := Read(tb.Context(), proxies, writers)
	return Between(before, Read(tb.Context(), proxies, writers))
}

func TestTheFiguresAreWhatTheRunAdded(t *testing.T) {
	u := between(t, []string{listener(t, proxyBefore, proxyAfter) + "/"}, []string{listener(t, writerBefore, writerAfter)})
	if u.ProxyMissing != "" || u.WriterMissing != "" {
		t.Fatalf("missing: %q, %q", u.ProxyMissing, u.WriterMissing)
	}
	for tier, want := range map[string]Tier{"memory": {1000, 980}, "redis": {20, 15}, "source": {5, 5}} {
		if u.Tiers[tier] != want {
			t.Errorf("%s: got %v, want %v", tier, u.Tiers[tier], want)
		}
	}
	if u.SourceQueries != 4 || u.Statements["insert"] != 40 || u.Statements["find"] != 2 || u.StatementCount() != 42 {
		t.Errorf("got %v queries and %v", u.SourceQueries, u.Statements)
	}
	if share, asked := u.Tiers["memory"].HitRate(); share != 0.98 || !asked {
		t.Errorf("memory: %v, %v", share, asked)
	}
	if _, asked := (Tier{}).HitRate(); asked {
		t.Error("a tier without look-ups has a hit rate")
	}
}

func TestSeveralProxiesAreAddedUp(t *testing.T) {
	proxies := []string{listener(t, proxyBefore, proxyAfter), listener(t, proxyBefore, proxyAfter)}
	if u := between(t, proxies, nil); u.Tiers["memory"] != (Tier{2000, 1960}) || u.SourceQueries != 8 {
		t.Errorf("got %v and %v queries", u.Tiers, u.SourceQueries)
	}
}

func TestOneListenerMayShowBothPrograms(t *testing.T) {
	both := listener(t, proxyBefore+writerBefore, proxyBefore+writerBefore, proxyAfter+writerAfter)
	if u := between(t, []string{both}, []string{both}); u.StatementCount() != 42 || u.SourceQueries != 4 {
		t.Errorf("got %v and %v queries", u.Statements, u.SourceQueries)
	}
}

// A series renamed in one of the programs would otherwise turn a figure into "not available" and nothing red.
func TestTheProgramsExportTheSeriesReadHere(t *testing.T) {
	for side, names := range map[string][]string{"proxy": {lookups, queries}, "writer": {statements}} {
		var source strings.Builder
		tree := os.DirFS("../../../" + side)
		err := fs.WalkDir(tree, ".", func(path string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Base(path) != "metrics.go" {
				return err
			}
			text, err := fs.ReadFile(tree, path)
			source.Write(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if !strings.Contains(source.String(), `"`+name+`"`) {
				t.Errorf("no metrics.go of the %s exports %s", side, name)
			}
		}
	}
}

func TestWhatCannotBeHadIsMissingForAReason(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for name, c := range map[string]struct {
		proxies []string
		reason  string
	}{
		"nobody there":        {[]string{gone.URL}, "does not answer"},
		"one of two missing":  {[]string{listener(t, proxyBefore, proxyAfter), gone.URL}, "does not answer"},
		"another service":     {[]string{listener(t, "go_goroutines 1\n")}, "no keygate counters"},
		"not a metrics page":  {[]string{listener(t, "<html>\nkeygate_proxy_lookups_total x\n")}, "the value of"},
		"no such path":        {[]string{listener(t, proxyBefore) + "/sub"}, "answered 404"},
		"restarted meanwhile": {[]string{listener(t, proxyAfter, proxyBefore)}, "went backwards"},
		"asked by nobody":     {[]string{listener(t, proxyBefore, proxyBefore)}, "did not move"},
		"none named":          {nil, "no admin listener"},
	} {
		t.Run(name, func(t *testing.T) {
			if u := between(t, c.proxies, c.proxies); !strings.Contains(u.ProxyMissing, c.reason) || u.WriterMissing == "" {
				t.Errorf("got %q and %q", u.ProxyMissing, u.WriterMissing)
			}
		})
	}
}
