// Package flags declares the command-line flags of the programs and binds each to one environment variable.
//
// The variable follows from the flag by rule, so that nobody has to look it up: the program's name and the flag
// in capitals, `--cache-ttl` being PROXY_CACHE_TTL. Six names mean the same to every program and go without the
// program's name: DATABASE_URL, REDIS_URL, TRUST_SECRET, ADMIN_TOKEN, LOG_LEVEL and LOG_FORMAT. An argument wins over
// the environment, the environment over the default, and the default is what the destination holds when it is declared:
//
//	cfg := config.Default()
//	set := flags.New("PROXY", "")
//	set.Section("Listeners")
//	set.String("listen", &cfg.Listen, "address to serve on")
//	set.Secret("admin-token", &cfg.AdminToken, "what callers of the admin listener have to present")
//	command := &cli.Command{Flags: set.Flags(), CustomHelpTemplate: flags.HelpTemplate}
//
// A variable that is set but empty counts as unset, unless the flag is a string or a list: there it is the way to
// say "none".
package flags

import (
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

var sharedNames = map[string]bool{
	"database-url": true, "redis-url": true, "trust-secret": true, "admin-token": true,
	"log-level": true, "log-format": true,
}

// Set collects the flags of one program.
type Set struct {
	program string
	prefix  string
	heading string // waits for the flag that opens its section
	flags   []cli.Flag
}

// New returns an empty set. Program is the first part of the environment variables, without `_`: "PROXY". Prefix
// comes before every flag's name and leaves the environment as it is: with "proxy-", `listen` is declared as
// `--proxy-listen` and still read from PROXY_LISTEN.
func New(program, prefix string) *Set { return &Set{program: program, prefix: prefix} }

// Section puts the flags declared from here on under a title of their own in the help. Under a prefix, the title begins
// with it: two programs may have sections of one name.
func (s *Set) Section(title string) {
	if s.prefix != "" {
		title = strings.TrimSuffix(s.prefix, "-") + ": " + title
	}
	s.heading = title
}

// String declares a flag whose text is taken as it is.
func (s *Set) String(name string, dst *string, usage string) {
	s.add(name, usage, "text", &scalar[string]{dst, parseText, formatText})
}

// Strings declares a flag that may be repeated. Several values may also stand in one argument, and have to in the
// environment, separated by commas. The first value given replaces the default.
func (s *Set) Strings(name string, dst *[]string, usage string) {
	s.add(name, usage, "text,…", &list{dst: dst})
}

// Bool declares a flag without a value. The environment takes true, false, 1 or 0.
func (s *Set) Bool(name string, dst *bool, usage string) {
	s.add(name, usage, "", &boolean{scalar[bool]{dst, parseBool, formatBool}})
}

// Int declares a flag for a whole number that is not negative.
func (s *Set) Int(name string, dst *int, usage string) {
	s.add(name, usage, "number", &scalar[int]{dst, parseInt, formatInt})
}

// Duration declares a flag for a time such as 250ms, 30s or 1h30m that is not negative.
func (s *Set) Duration(name string, dst *time.Duration, usage string) {
	s.add(name, usage, "time", &scalar[time.Duration]{dst, parseDuration, formatDuration})
}

// Bytes declares a flag for a size such as 65536, 64KiB or 8MiB.
func (s *Set) Bytes(name string, dst *int, usage string) {
	s.add(name, usage, "size", &scalar[int]{dst, ParseBytes, FormatBytes})
}

// Secret declares `--<name>-file` for a secret of at least MinSecret bytes. The secret itself never is an argument,
// which everyone on the machine could read; it may be the variable that <name> would have had as a flag.
func (s *Set) Secret(name string, dst *string, usage string) {
	secret := &secretFlag{inline: s.variable(name), dst: dst}
	usage += "; the file holds it, or $" + secret.inline + " does"
	secret.option = s.option(name+"-file", usage, "path", &secretFile{dst: dst})
	s.flags = append(s.flags, secret)
}

// Flags returns what was declared, in that order.
func (s *Set) Flags() []cli.Flag { return s.flags }

func (s *Set) add(name, usage, kind string, v value) {
	f := s.option(name, usage, kind, v)
	s.flags = append(s.flags, &f)
}

func (s *Set) option(name, usage, kind string, v value) option {
	o := option{
		name: s.prefix + name, variable: s.variable(name), heading: s.heading,
		usage: usage, kind: kind, value: v, byDefault: v.String(),
	}
	s.heading = ""
	return o
}

func (s *Set) variable(name string) string {
	capitals := strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
	if sharedNames[name] {
		return capitals
	}
	return s.program + "_" + capitals
}
