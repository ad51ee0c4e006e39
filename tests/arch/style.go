package arch

import (
	"fmt"
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// What one can read without losing the thread: see the file at a glance, the function on one screen.
const (
	maxFileLines     = 400
	maxMainLines     = 60
	maxFunctionLines = 60
	maxWidth         = 125
	maxTestWidth     = 180 // a row of a table of cases may be long
)

// Names that say nothing of what is inside, so that anything ends up there.
var emptyNames = []string{"util", "utils", "common", "helper", "helpers", "types", "misc"}

var unfinished = regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b`)

func checkStyle(file source) []Violation {
	return slices.Concat(checkName(file), checkLength(file), checkWidth(file), checkFunctions(file),
		checkComments(file), checkSleep(file))
}

func checkName(file source) []Violation {
	if !slices.Contains(emptyNames, strings.TrimSuffix(file.syntax.Name.Name, "_test")) {
		return nil
	}
	return []Violation{{file.path, file.line(file.syntax.Package), "a package is named after its idea",
		fmt.Sprintf("%q names none: find the one idea, or move the parts to where they are used", file.syntax.Name.Name)}}
}

func checkLength(file source) []Violation {
	lines, most := strings.Count(file.text, "\n"), maxFileLines
	switch {
	case file.isTest():
		return nil
	case path.Base(file.path) == "main.go" && file.syntax.Name.Name == "main":
		most = maxMainLines
	}
	if lines <= most {
		return nil
	}
	return []Violation{{file.path, most + 1,
		fmt.Sprintf("the file has %d lines of at most %d", lines, most), "split it by concern"}}
}

func checkWidth(file source) []Violation {
	var found []Violation
	number, most := 0, maxWidth
	if file.isTest() {
		most = maxTestWidth
	}
	for line := range strings.Lines(file.text) {
		number++
		if width := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); width > most {
			found = append(found, Violation{file.path, number,
				fmt.Sprintf("the line has %d characters of at most %d", width, most), "break it"})
		}
	}
	return found
}

func checkFunctions(file source) []Violation {
	if file.isTest() {
		return nil
	}
	var found []Violation
	for _, declaration := range file.syntax.Decls {
		function, ok := declaration.(*ast.FuncDecl)
		if !ok {
			continue
		}
		first, last := file.line(function.Pos()), file.line(function.End())
		if lines := last - first + 1; lines > maxFunctionLines {
			found = append(found, Violation{file.path, first,
				fmt.Sprintf("%s has %d lines of at most %d", function.Name.Name, lines, maxFunctionLines),
				"name its steps and make them functions"})
		}
	}
	return found
}

func checkComments(file source) []Violation {
	var found []Violation
	for _, group := range file.syntax.Comments {
		for _, comment := range group.List {
			if word := unfinished.FindString(comment.Text); word != "" {
				found = append(found, Violation{file.path, file.line(comment.Pos()), "a comment says " + word,
					"do it, or open an issue and say here what is so today"})
			}
		}
	}
	return found
}

// checkSleep leaves tests with a clock of their own alone: there a sleep takes no time and ends when all else is done.
func checkSleep(file source) []Violation {
	if !file.isTest() || strings.Contains(file.text, `"testing/synctest"`) {
		return nil
	}
	var found []Violation
	ast.Inspect(file.syntax, func(node ast.Node) bool {
		selector, ok := node.(*ast.SelectorExpr)
		if !ok || selector.Sel.Name != "Sleep" {
			return true
		}
		if name, ok := selector.X.(*ast.Ident); ok && name.Name == "time" {
			found = append(found, Violation{file.path, file.line(node.Pos()), "a test calls time.Sleep",
				"wait for a signal, poll a condition against a deadline, or use testing/synctest"})
		}
		return true
	})
	return found
}
