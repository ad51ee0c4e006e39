package flags

import (
	"errors"
	"flag"
	"strconv"
	"strings"
	"time"
)

// value is a flag.Value that knows when the environment has had its say.
type value interface {
	flag.Value
	takesEmpty() bool // whether the empty text is a value and not the lack of one
	settle()          // the environment is read: what is set from now on comes from arguments
}

// scalar is one value of type T.
type scalar[T any] struct {
	dst    *T
	parse  func(string) (T, error)
	format func(T) string
}

func (s *scalar[T]) Set(text string) error {
	v, err := s.parse(text)
	if err == nil {
		*s.dst = v
	}
	return err
}

func (s *scalar[T]) String() string {
	if s == nil || s.dst == nil { // package flag asks a zero value
		return ""
	}
	return s.format(*s.dst)
}

func (s *scalar[T]) takesEmpty() bool {
	_, text := any(s.dst).(*string)
	return text
}

func (s *scalar[T]) settle() {}

// boolean needs no value on the command line.
type boolean struct{ scalar[bool] }

func (b *boolean) IsBoolFlag() bool { return true }

// list is replaced by the first value of a layer (environment, arguments) and extended by the others.
type list struct {
	dst    *[]string
	opened bool
}

func (l *list) Set(text string) error {
	if !l.opened {
		*l.dst, l.opened = nil, true
	}
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			*l.dst = append(*l.dst, item)
		}
	}
	return nil
}

func (l *list) String() string {
	if l == nil || l.dst == nil {
		return ""
	}
	return strings.Join(*l.dst, ",")
}

func (l *list) takesEmpty() bool { return true }

func (l *list) settle() { l.opened = false }

func parseText(text string) (string, error) { return text, nil }

func formatText(text string) string { return text }

func parseBool(text string) (bool, error) {
	v, err := strconv.ParseBool(text)
	if err != nil {
		return false, errors.New("neither true nor false")
	}
	return v, nil
}

func formatBool(v bool) string { return strconv.FormatBool(v) }

func parseInt(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, errors.New("not a whole number from 0 up")
	}
	return n, nil
}

func formatInt(n int) string { return strconv.Itoa(n) }

func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, errors.New("not a time from 0s up, such as 250ms, 30s or 1h30m")
	}
	return d, nil
}

// formatDuration drops the zero parts that time.Duration prints: 5m0s is 5m, 1h0m0s is 1h.
func formatDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
