package programs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/jackc/pgx/v5"
)

// VersionOf is the first line that a program says of its version.
func VersionOf(ctx context.Context, path string, arguments ...string) string {
	out, err := exec.CommandContext(ctx, path, arguments...).CombinedOutput()
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}

// Versions are those of Go, PostgreSQL and Redis.
func (b *Bench) Versions(ctx context.Context) []string {
	return []string{runtime.Version(), b.databaseVersion(ctx), VersionOf(ctx, "redis-server", "--version")}
}

func (b *Bench) databaseVersion(ctx context.Context) string {
	conn, err := pgx.Connect(ctx, b.Postgres.URL("postgres"))
	if err != nil {
		return "PostgreSQL unknown"
	}
	defer conn.Close(ctx)
	return "PostgreSQL " + conn.PgConn().ParameterStatus("server_version")
}

// Machine is what Linux calls the processor, and how many of them this process may use.
func Machine() string {
	model := "unknown processor"
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		info = nil
	}
	for line := range strings.Lines(string(info)) {
		if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	return fmt.Sprintf("%d × %s, %s/%s", runtime.NumCPU(), model, runtime.GOOS, runtime.GOARCH)
}
