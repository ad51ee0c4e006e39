package arch_test

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"keygate/tests/arch"
)

func TestTheRepositoryKeepsItsShape(t *testing.T) {
	found, err := arch.Check(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, violation := range found {
		t.Error(violation)
	}
}

// Each file breaks, or just keeps, one rule. want is the beginning of the only violation, "" for none.
func TestEachRuleFindsWhatBreaksIt(t *testing.T) {
	lines := func(n int) string { return strings.Repeat("\n", n) }
	for _, test := range []struct{ name, file, text, want string }{
		{"proxy imports writer", "proxy/server/a.go", `package server; import "keygate/writer/event"`,
			"proxy/server/a.go:1: proxy/server may not import writer/event: proxy and writer share HTTP"},
		{"writer imports proxy", "writer/app/a.go", `package app; import "keygate/proxy/auth"`,
			"writer/app/a.go:1: writer/app may not import proxy/auth"},
		{"shared imports proxy", "shared/trust/a.go", `package trust; import "keygate/proxy/auth"`,
			"shared/trust/a.go:1: shared/trust may not import proxy/auth"},
		{"an adapter imports its domain", "proxy/auth/pgsource/a.go", `package pgsource; import "keygate/proxy/auth"`, ""},
		{"an adapter imports an adapter", "proxy/auth/pgsource/a.go",
			`package pgsource; import "keygate/proxy/auth/memstore"`,
			"proxy/auth/pgsource/a.go:1: proxy/auth/pgsource may not import proxy/auth/memstore"},
		{"an adapter's test imports the suite", "proxy/auth/pgsource/a_test.go",
			`package x; import ("keygate/proxy/auth/authtest"; "keygate/migrations/auth"; "keygate/tests/servers")`, ""},
		{"an adapter imports the suite", "proxy/auth/pgsource/a.go",
			`package pgsource; import "keygate/proxy/auth/authtest"`,
			"proxy/auth/pgsource/a.go:1: proxy/auth/pgsource may not import proxy/auth/authtest"},
		{"a domain imports its adapter", "proxy/auth/a.go", `package auth; import "keygate/proxy/auth/memstore"`,
			"proxy/auth/a.go:1: proxy/auth may not import proxy/auth/memstore"},
		{"a sink imports the server", "writer/pgsink/a.go", `package pgsink; import "keygate/writer/server"`,
			"writer/pgsink/a.go:1: writer/pgsink may not import writer/server"},
		{"a package outside of the tree", "pkg/a.go", `package pkg`, "pkg/a.go:1: no arrow starts at this package"},
		{"a domain imports a driver", "proxy/auth/a.go", `package auth; import "github.com/jackc/pgx/v5/pgxpool"`,
			"proxy/auth/a.go:1: out of bounds: proxy/auth → github.com/jackc/pgx/v5/pgxpool"},
		{"a domain imports net", "writer/event/a.go", `package event; import "net"`,
			"writer/event/a.go:1: out of bounds: writer/event → net: declare an interface in writer/event"},
		{"a domain imports net/netip", "writer/event/a.go", `package event; import "net/netip"`, ""},
		{"commit imports fasthttp", "writer/commit/a.go", `package commit; import "github.com/valyala/fasthttp"`,
			"writer/commit/a.go:1: out of bounds: writer/commit → github.com/valyala/fasthttp"},
		{"a domain's test imports net", "writer/event/a_test.go", `package event; import "net"`, ""},
		{"a server reads flags", "proxy/server/a.go", `package server; import "github.com/urfave/cli/v2"`,
			"proxy/server/a.go:1: proxy/server may not import github.com/urfave/cli/v2: read flags into a plain struct"},
		{"config reads flags", "proxy/config/a.go", `package config; import "github.com/urfave/cli/v2"`, ""},
		{"a file of 400 lines", "proxy/server/a.go", "package server" + lines(400), ""},
		{"a file of 401 lines", "proxy/server/a.go", "package server" + lines(401),
			"proxy/server/a.go:401: the file has 401 lines of at most 400: split it"},
		{"a test of 401 lines", "proxy/server/a_test.go", "package server" + lines(401), ""},
		{"a main.go of 61 lines", "proxy/main.go", "package main" + lines(61), "proxy/main.go:61: the file has 61 lines"},
		{"a function of 60 lines", "proxy/server/a.go", "package server\nfunc f() {" + lines(59) + "}", ""},
		{"a function of 61 lines", "proxy/server/a.go", "package server\nfunc f() {" + lines(60) + "}",
			"proxy/server/a.go:2: f has 61 lines of at most 60"},
		{"a line of 125 characters", "proxy/server/a.go", "package server\n// " + strings.Repeat("é", 122), ""},
		{"a line of 126 characters", "proxy/server/a.go", "package server\n// " + strings.Repeat("é", 123),
			"proxy/server/a.go:2: the line has 126 characters"},
		{"a package named util", "shared/util/a.go", "package util", "shared/util/a.go:1: a package is named after its idea"},
		{"a note of work left undone", "proxy/server/a.go", "package server\n// TO" + "DO: later",
			"proxy/server/a.go:2: a comment says TO" + "DO"},
		{"a test that sleeps", "proxy/server/a_test.go", "package server\nimport \"time\"\nfunc f() { time.Sleep(1) }",
			"proxy/server/a_test.go:3: a test calls time.Sleep"},
		{"code that sleeps", "proxy/server/a.go", "package server\nimport \"time\"\nfunc f() { time.Sleep(1) }", ""},
		{"a file that does not parse", "proxy/server/a.go", "package", "proxy/server/a.go:1: the file does not parse"},
		{"testdata", "proxy/server/testdata/a.go", "package", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			found, err := arch.Check(fstest.MapFS{test.file: {Data: []byte(test.text)}})
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case test.want == "" && len(found) > 0:
				t.Errorf("found %v", found)
			case test.want != "" && (len(found) != 1 || !strings.HasPrefix(found[0].String(), test.want)):
				t.Errorf("found %v, want one that begins %q", found, test.want)
			}
		})
	}
}

func TestADomainMayNotReachADriverThroughASharedPackage(t *testing.T) {
	found, err := arch.Check(fstest.MapFS{
		"writer/event/a.go":     {Data: []byte("package event\nimport \"keygate/shared/problem\"")},
		"shared/problem/a.go":   {Data: []byte("package problem\nimport \"keygate/shared/answer\"")},
		"shared/answer/http.go": {Data: []byte("package answer\nimport \"github.com/valyala/fasthttp\"")},
	})
	if err != nil {
		t.Fatal(err)
	}
	const want = "writer/event/a.go:2: out of bounds: " +
		"writer/event → shared/problem → shared/answer → github.com/valyala/fasthttp: declare"
	if len(found) != 1 || !strings.HasPrefix(found[0].String(), want) {
		t.Errorf("found %v, want one that begins %q", found, want)
	}
}
