package admin_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

type panel struct {
	ID      int
	Type    string
	Title   string
	GridPos struct{ X, Y, W, H int }
	Targets []struct{ Expr string }
}

func readDashboard(tb testing.TB) []panel {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "grafana", "keygate.json"))
	if err != nil {
		tb.Fatal(err)
	}
	var dashboard struct{ Panels []panel }
	if err := json.Unmarshal(text, &dashboard); err != nil {
		tb.Fatal(err)
	}
	return dashboard.Panels
}

// metricSources is the text of the files that name metrics.
func metricSources(tb testing.TB) string {
	tb.Helper()
	var all strings.Builder
	for _, root := range []string{"proxy", "writer", "shared"} {
		err := filepath.WalkDir(filepath.Join("..", "..", root), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.Name() != "metrics.go" {
				return err
			}
			text, err := os.ReadFile(path)
			all.Write(text)
			return err
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
	return all.String()
}

// named says whether the sources hold a metric's name as one literal, or as a literal prefix and a literal end.
// What package serving exports has its prefix, the program, from its caller.
func named(sources, metric string) bool {
	if strings.Contains(sources, `"`+metric+`"`) {
		return true
	}
	for i, c := range metric {
		if c != '_' {
			continue
		}
		prefix, end := metric[:i+1], metric[i+1:]
		known := prefix == "keygate_proxy_" || prefix == "keygate_writer_" || strings.Contains(sources, `"`+prefix+`"`)
		if known && strings.Contains(sources, `"`+end+`"`) {
			return true
		}
	}
	return false
}

func TestEveryMetricOfTheDashboardExists(t *testing.T) {
	sources, seen := metricSources(t), 0
	part := regexp.MustCompile(`_(bucket|sum|count)$`)
	for _, p := range readDashboard(t) {
		for _, target := range p.Targets {
			for _, metric := range regexp.MustCompile(`keygate_[a-z_]+`).FindAllString(target.Expr, -1) {
				seen++
				if !named(sources, metric) && !named(sources, part.ReplaceAllString(metric, "")) {
					t.Errorf("%s: no metrics.go names %s", p.Title, metric)
				}
			}
		}
	}
	if seen < 50 {
		t.Errorf("only %d metrics were found in the dashboard", seen)
	}
	if named(sources, "keygate_proxy_absent_total") || named(sources, "keygate_proxy_upstream_absent_total") {
		t.Error("a metric that nobody has is found")
	}
}

func TestPanelsHaveTheirOwnIDsAndPlaces(t *testing.T) {
	ids, cells := map[int]bool{}, map[[2]int]string{}
	for _, p := range readDashboard(t) {
		if ids[p.ID] {
			t.Errorf("%s: id %d is taken", p.Title, p.ID)
		}
		ids[p.ID] = true
		at := p.GridPos
		for x := at.X; x < at.X+at.W; x++ {
			for y := at.Y; y < at.Y+at.H; y++ {
				if other, taken := cells[[2]int{x, y}]; taken || x >= 24 {
					t.Errorf("%s overlaps %q, or the edge", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
	}
}
