package arch

import (
	"fmt"
	"slices"
	"strings"
)

// owner says who alone may import something from outside, tests aside.
type owner struct {
	outside string
	mayUse  []string
	advice  string
}

var owners = []owner{
	{"github.com/urfave/cli/...",
		[]string{"proxy", "proxy/config", "proxy/command", "writer", "writer/config", "writer/command", "migrations/...",
			"shared/flags", "shared/lifecycle", "deploy/standalone/...", "tests/load", "tests/load/config"},
		"read flags into a plain struct in config/ and pass that on"},
	{"github.com/allegro/bigcache/...", []string{"proxy/auth/memstore"}, "use the contract that memstore fulfils"},
	{"github.com/redis/go-redis/...", []string{"proxy/auth/redisstore", "proxy/app", "tests/..."},
		"Redis is redisstore's affair: extend its contract in proxy/auth"},
}

// purity keeps I/O out of packages that decide, and SQL and Redis out of those that serve. It counts what they reach by
// way of our own packages too.
type purity struct {
	pkg     string
	without []string
}

var (
	drivers = []string{"database/sql/...", "github.com/jackc/pgx/...", "github.com/redis/go-redis/...",
		"modernc.org/sqlite/..."}
	web    = []string{"github.com/valyala/fasthttp/...", "net/http/..."}
	system = []string{"net", "os", "os/...", "syscall"}
)

var pure = []purity{
	{"proxy/auth", slices.Concat(drivers, web, system)},
	{"proxy/apikey", slices.Concat(drivers, web, system)},
	{"writer/event", slices.Concat(drivers, web, system)},
	{"writer/commit", slices.Concat(drivers, web, system)},
	{"proxy/identity", drivers},
	{"proxy/forward", drivers},
	{"proxy/upstream", drivers},
	{"proxy/invalidate", drivers},
	{"proxy/server", drivers},
	{"proxy/verify", drivers},
	{"writer/server", drivers},
}

func checkOwner(file source, target imported) []Violation {
	at := slices.IndexFunc(owners, func(o owner) bool { return matches(o.outside, target.path) })
	if at < 0 || matchesAny(owners[at].mayUse, file.pkg()) {
		return nil
	}
	return []Violation{{file.path, target.line,
		fmt.Sprintf("%s may not import %s", file.pkg(), target.path), owners[at].advice}}
}

// use is how one package imports another.
type use struct {
	file source
	imported
}

func checkPurity(files []source) []Violation {
	uses := make(map[string][]use) // by importing package
	for _, file := range files {
		if file.isTest() {
			continue
		}
		for _, target := range file.imports() {
			uses[file.pkg()] = append(uses[file.pkg()], use{file, target})
		}
	}
	var found []Violation
	for _, rule := range pure {
		seen := map[string]bool{rule.pkg: true}
		found = append(found, impurities(rule, uses, []string{rule.pkg}, nil, seen)...)
	}
	return found
}

// impurities walks on from the last package of way. first is the import that the way began with, which is where the
// violation is reported; nil at the beginning.
func impurities(rule purity, uses map[string][]use, way []string, first *use, seen map[string]bool) []Violation {
	var found []Violation
	for _, u := range uses[way[len(way)-1]] {
		begin := first
		if begin == nil {
			begin = &u
		}
		switch {
		case u.own && !seen[u.path]:
			seen[u.path] = true
			found = append(found, impurities(rule, uses, append(slices.Clone(way), u.path), begin, seen)...)
		case !u.own && matchesAny(rule.without, u.path):
			chain := strings.Join(append(slices.Clone(way), u.path), " → ")
			found = append(found, Violation{begin.file.path, begin.line, "out of bounds: " + chain,
				"declare an interface in " + rule.pkg + " and let an adapter fulfil it"})
		}
	}
	return found
}
