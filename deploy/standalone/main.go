// Command standalone runs proxy and writer in one process. Without any configuration it keeps everything in a SQLite
// file under ./data and prints a demo key; with DATABASE_URL and REDIS_URL it uses real servers.
package main

import (
	"path/filepath"

	"github.com/urfave/cli/v2"

	keys "keygate/proxy/command"
	"keygate/shared/build"
	"keygate/shared/flags"
	"keygate/shared/lifecycle"
	prune "keygate/writer/command"
)

func main() { lifecycle.Main(program()) }

func program() *cli.App {
	s := newStack()
	set := flags.New("STANDALONE", "")
	set.Section("Data")
	set.String("data-dir", &s.dataDir, "keep the SQLite file, the demo key and the trust secret in this directory")
	proxySet, writerSet := flags.New("PROXY", "proxy-"), flags.New("WRITER", "writer-")
	s.proxy.Flags(proxySet)
	s.writer.Flags(writerSet)
	return &cli.App{
		Name: "standalone", Usage: "run keygate's proxy and writer in one process", Version: build.Info().Version,
		Description:           "Without a command it serves. `standalone keys` and `standalone prune` have a --help of their own.",
		CustomAppHelpTemplate: flags.HelpTemplate,
		Flags:                 append(append(set.Flags(), proxySet.Flags()...), writerSet.Flags()...),
		Action:                func(c *cli.Context) error { return s.run(c.Context, c.App.Writer) },
		Commands:              []*cli.Command{keys.Keys("PROXY", s.ownURL), prune.Prune("WRITER", s.ownURL)},
	}
}

// ownURL is the database that is used where none is given.
func (s *stack) ownURL() string { return "sqlite:" + filepath.Join(s.dataDir, "keygate.db") }
