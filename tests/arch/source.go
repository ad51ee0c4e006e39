// Package arch holds the shape of the repository under test: which package may import which, and how large and how tidy
// a source file may be. The rules are tables and small functions over the parsed source, so nothing needs to compile.
package arch

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

const module = "keygate"

// Violation is one breach of one rule, with what to do about it.
type Violation struct {
	File   string
	Line   int
	Rule   string
	Advice string
}

// String gives the form that editors can jump to.
func (v Violation) String() string {
	return fmt.Sprintf("%s:%d: %s: %s", v.File, v.Line, v.Rule, v.Advice)
}

// source is one Go file.
type source struct {
	path   string // from the repository's root, with slashes
	text   string
	set    *token.FileSet
	syntax *ast.File
}

// imported is one import of a file.
type imported struct {
	path string // of our own packages without the module's name; "" is the root
	own  bool
	line int
}

// Check applies every rule to all Go files below root but those of testdata and of directories that Go ignores.
func Check(root fs.FS) ([]Violation, error) {
	files, broken, err := load(root)
	if err != nil {
		return nil, err
	}
	found := broken
	for _, file := range files {
		found = append(found, checkArrows(file)...)
		found = append(found, checkStyle(file)...)
	}
	found = append(found, checkPurity(files)...)
	slices.SortFunc(found, func(a, b Violation) int {
		if order := strings.Compare(a.File, b.File); order != 0 {
			return order
		}
		return a.Line - b.Line
	})
	return found, nil
}

func load(root fs.FS) (files []source, broken []Violation, err error) {
	set := token.NewFileSet()
	err = fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && ignored(name):
			return fs.SkipDir
		case entry.IsDir() || path.Ext(name) != ".go":
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // an editor's rename, between the listing and now
		}
		if err != nil {
			return err
		}
		syntax, err := parser.ParseFile(set, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			broken = append(broken, Violation{name, 1, "the file does not parse", err.Error()})
			return nil
		}
		files = append(files, source{path: name, text: string(text), set: set, syntax: syntax})
		return nil
	})
	return files, broken, err
}

func ignored(dir string) bool {
	base := path.Base(dir)
	return base == "testdata" || base == "vendor" ||
		dir != "." && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_"))
}

// pkg is the directory, which names the package throughout: "" is the root.
func (s source) pkg() string {
	if dir := path.Dir(s.path); dir != "." {
		return dir
	}
	return ""
}

func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

func (s source) line(at token.Pos) int { return s.set.Position(at).Line }

func (s source) imports() []imported {
	var found []imported
	for _, spec := range s.syntax.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser would have refused it
		}
		rest, own := strings.CutPrefix(name+"/", module+"/")
		found = append(found, imported{path: strings.TrimSuffix(rest, "/"), own: own, line: s.line(spec.Pos())})
	}
	return found
}
