package conformance

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// testCase is what one client sends, or one upstream answers, in the notation that expand reads.
type testCase struct {
	name string
	text string
	// lenient says that the bytes are invalid by the letter of RFC 9112, but known to be taken all the same; severe that
	// they are valid, but known to be refused.
	lenient, severe bool
	generated       bool
	framing         bool // it is about where messages end: it is also sent byte by byte, and in two parts
}

// parseCases reads a file of cases, one a line: a name, with a + before it if it is lenient or a - if it is
// severe, white space, and the text. Lines that begin with # are comments; the cases after one that begins with ## are about framing.
func parseCases(tb testing.TB, file string) []testCase {
	tb.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		tb.Fatal(err)
	}
	var cases []testCase
	framing := false
	for line := range strings.Lines(string(content)) {
		line = strings.TrimRight(line, " \n")
		if strings.HasPrefix(line, "#") {
			framing = strings.HasPrefix(line, "##")
		}
		if line == "" || line[0] == '#' {
			continue
		}
		name, text, _ := strings.Cut(line, " ")
		name, lenient := strings.CutPrefix(name, "+")
		name, severe := strings.CutPrefix(name, "-")
		cases = append(cases, testCase{name: name, text: strings.TrimLeft(text, " "), lenient: lenient, severe: severe, framing: framing})
	}
	return cases
}

const host = "edge.test"

// expand writes a case out. In its text
//
//	|       is CR LF; \n \r \t \s \xNN \\ \| \~ \{ are what they say
//	|H| |K| as a whole line are a Host line, and a line with a valid key
//	~       is the id by which the upstream's notes are found again; it stands in the target, as in /~
//	{#}     is the number of bytes after the first empty line
//	{9*abc} is abc nine times
func expand(tb testing.TB, text, key, id string) []byte {
	tb.Helper()
	var out []byte
	lengthAt := -1
	for i, line := range splitUnescaped(text) {
		if i > 0 {
			out = append(out, "\r\n"...)
		}
		switch line {
		case "H":
			line = "Host: " + host
		case "K":
			line = "X-API-Key: " + key
		}
		for line != "" {
			if plain := strings.IndexAny(line, `~{\\`); plain != 0 {
				if plain < 0 {
					plain = len(line)
				}
				out, line = append(out, line[:plain]...), line[plain:]
				continue
			}
			var piece string
			if rest, found := strings.CutPrefix(line, "{#}"); found && lengthAt < 0 {
				lengthAt, line = len(out), rest
				continue
			}
			if piece, line = nextPiece(tb, line); piece == "~" {
				piece = id
			} else {
				piece = strings.TrimPrefix(piece, "\\")
			}
			out = append(out, piece...)
		}
	}
	if lengthAt >= 0 {
		_, body, _ := bytes.Cut(out, []byte("\r\n\r\n"))
		out = append(out[:lengthAt:lengthAt], append([]byte(strconv.Itoa(len(body))), out[lengthAt:]...)...)
	}
	return out
}

// nextPiece returns the first piece of line written out, and the rest. A tilde that is meant is returned with a backslash.
func nextPiece(tb testing.TB, line string) (piece, rest string) {
	switch {
	case line[0] == '{':
		inside, rest, _ := strings.Cut(line[1:], "}")
		count, repeated, _ := strings.Cut(inside, "*")
		n, err := strconv.Atoi(count)
		if err != nil {
			tb.Fatalf("%q: %v", line, err)
		}
		return strings.Repeat(string(expand(tb, repeated, "", "")), n), rest
	case line[0] != '\\':
		return line[:1], line[1:]
	case line[1] == 'x':
		n, err := strconv.ParseUint(line[2:4], 16, 8)
		if err != nil {
			tb.Fatalf("%q: %v", line, err)
		}
		return string([]byte{'\\', byte(n)})[1:], line[4:]
	}
	at := strings.IndexByte(`nrts\|~{`, line[1])
	if at < 0 {
		tb.Fatalf("%q: an unknown escape", line)
	}
	return "\\" + string("\n\r\t \\|~{"[at]), line[2:]
}

func splitUnescaped(text string) []string {
	var lines []string
	from := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '|':
			lines, from = append(lines, text[from:i]), i+1
		}
	}
	return append(lines, text[from:])
}

// idOf is the n-th id: what follows a slash in targets, always of the same length.
func idOf(n int) string { return fmt.Sprintf("q%06d", n) }

// findID returns the first id in raw, or "".
func findID(raw string) string {
	for rest := raw; ; {
		_, after, found := strings.Cut(rest, "/q")
		if !found {
			return ""
		}
		if len(after) >= 6 && strings.Trim(after[:6], "0123456789") == "" {
			return "q" + after[:6]
		}
		rest = after
	}
}
