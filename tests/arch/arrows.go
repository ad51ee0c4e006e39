package arch

import (
	"fmt"
	"slices"
	"strings"
)

// arrow says what packages may import of our own. The first whose from matches counts. A pattern names one package, or
// with "/..." that package and all below it.
type arrow struct {
	from  string
	may   []string
	tests []string // what tests may import besides, and besides testsMay
}

// arrows is the order of the house: main → app → server → domain, adapters → their domain, all → shared. What is not
// listed is forbidden, above all proxy ↔ writer and adapter ↔ adapter.
var arrows = []arrow{
	{from: "shared/...", may: []string{"shared/..."}},
	{from: "migrations/...", may: []string{"migrations/...", "shared/..."}},

	{from: "proxy", may: []string{"proxy/...", "shared/...", "migrations/..."}},
	{from: "proxy/app", may: []string{"proxy/...", "shared/...", "migrations/..."}},
	{from: "proxy/command", may: []string{"proxy/...", "shared/...", "migrations/..."}},
	{from: "proxy/config", may: []string{"proxy/auth", "proxy/apikey", "proxy/header", "proxy/identity", "shared/..."}},
	{from: "proxy/apikey", may: []string{"shared/..."}},
	{from: "proxy/auth", may: []string{"proxy/apikey", "shared/..."}, tests: []string{"proxy/auth/..."}},
	{from: "proxy/auth/pgsource", may: []string{"proxy/auth", "proxy/auth/keyquery", "shared/..."},
		tests: []string{"proxy/auth/authtest"}},
	{from: "proxy/auth/sqlitesource", may: []string{"proxy/auth", "proxy/auth/keyquery", "shared/..."},
		tests: []string{"proxy/auth/authtest"}},
	{from: "proxy/auth/...", may: []string{"proxy/auth", "proxy/apikey", "shared/..."},
		tests: []string{"proxy/auth/authtest"}},
	{from: "proxy/header", may: []string{"shared/..."}},
	{from: "proxy/forward", may: []string{"proxy/header", "proxy/upstream", "shared/..."}},
	{from: "proxy/upstream", may: []string{"shared/socket"}},
	{from: "proxy/fastpath", may: []string{"proxy/auth", "proxy/header", "proxy/identity", "proxy/forward", "proxy/upstream",
		"shared/..."}, tests: []string{"proxy/..."}},
	{from: "proxy/server",
		may: []string{"proxy/auth", "proxy/apikey", "proxy/header", "proxy/identity", "proxy/refusal", "proxy/forward",
			"proxy/fastpath", "shared/..."},
		tests: []string{"proxy/..."}},
	{from: "proxy/refusal", may: []string{"proxy/auth", "proxy/header", "proxy/identity", "shared/..."}},
	{from: "proxy/verify", may: []string{"proxy/auth", "proxy/header", "proxy/identity", "proxy/refusal", "shared/..."},
		tests: []string{"proxy/..."}},
	{from: "proxy/...", may: []string{"proxy/auth", "proxy/apikey", "proxy/header", "shared/..."},
		tests: []string{"proxy/..."}},

	{from: "writer", may: []string{"writer/...", "shared/...", "migrations/..."}},
	{from: "writer/app", may: []string{"writer/...", "shared/...", "migrations/..."}},
	{from: "writer/command", may: []string{"writer/...", "shared/...", "migrations/..."}},
	{from: "writer/config", may: []string{"writer/event", "writer/commit", "shared/..."}},
	{from: "writer/event", may: []string{"shared/..."}},
	{from: "writer/commit", may: []string{"writer/event", "shared/..."}, tests: []string{"writer/..."}},
	{from: "writer/sinktest", may: []string{"writer/event", "writer/commit", "shared/...", "migrations/...", "tests/servers"}},
	{from: "writer/...", may: []string{"writer/event", "writer/commit", "shared/..."},
		tests: []string{"writer/sinktest"}},

	{from: "deploy/standalone/...", may: []string{"proxy/...", "writer/...", "shared/...", "migrations/..."}},
	{from: "tests/load/...", may: []string{"tests/load/...", "shared/..."}},
	{from: "tests/...", may: []string{"tests/...", "proxy/...", "writer/...", "shared/...", "migrations/..."}},
}

// Every test may start servers, cut them off, and build their schema.
var testsMay = []string{"tests/servers", "tests/link", "migrations/..."}

func checkArrows(file source) []Violation {
	var found []Violation
	from := file.pkg()
	at := slices.IndexFunc(arrows, func(a arrow) bool { return matches(a.from, from) })
	if at < 0 {
		return []Violation{{file.path, file.line(file.syntax.Package), "no arrow starts at this package",
			fmt.Sprintf("move %q to where the tree has room for it, or give it a line in tests/arch/arrows.go", from)}}
	}
	may := arrows[at].may
	if file.isTest() {
		may = slices.Concat(may, arrows[at].tests, testsMay, []string{from})
	}
	for _, target := range file.imports() {
		switch {
		case target.own && !matchesAny(may, target.path):
			found = append(found, Violation{file.path, target.line,
				fmt.Sprintf("%s may not import %s", from, target.path), arrowAdvice(from, target.path)})
		case !target.own && !file.isTest():
			found = append(found, checkOwner(file, target)...)
		}
	}
	return found
}

func arrowAdvice(from, target string) string {
	if side(from) != side(target) && side(from) != "" && side(target) != "" {
		return "proxy and writer share HTTP and the signed header alone: what both need belongs into shared/"
	}
	return "pass it in from app/ behind an interface that this package declares, or change tests/arch/arrows.go"
}

func side(pkg string) string {
	for _, name := range []string{"proxy", "writer"} {
		if matches(name+"/...", pkg) {
			return name
		}
	}
	return ""
}

func matches(pattern, pkg string) bool {
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		return pkg == base || strings.HasPrefix(pkg, base+"/")
	}
	return pattern == pkg
}

func matchesAny(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return matches(pattern, pkg) })
}
