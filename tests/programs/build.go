package programs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// Built are programs of this module, which are built once, for all tests of a package.
type Built struct {
	packages []string // as keygate/proxy
	once     sync.Once
	dir      string
	err      error
}

// Of names the programs to build.
func Of(packages ...string) *Built { return &Built{packages: packages} }

// Dir builds the programs, if they are not yet, and returns the directory in which they are.
func (b *Built) Dir() (string, error) {
	b.once.Do(func() { b.dir, b.err = build(b.packages) })
	return b.dir, b.err
}

// Remove removes the programs.
func (b *Built) Remove() error { return os.RemoveAll(b.dir) }

func build(packages []string) (dir string, err error) {
	if dir, err = os.MkdirTemp("", "keygate-"); err != nil {
		return "", err
	}
	if err := Build(context.Background(), dir, packages...); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
}

// Build builds programs of this module into dir. Arguments are those of go build, the packages last.
func Build(ctx context.Context, dir string, arguments ...string) error {
	if err := touch(); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-buildvcs=false", "-o", dir}, arguments...)...)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %q: %w\n%s", arguments, err, output)
	}
	return nil
}

// touch looks at every file that a program may be built from. That is how go test learns what these tests depend on: it
// knows which files a test asks for itself, and would go on telling an old result of programs that have changed.
func touch() error {
	root, err := root()
	if err != nil {
		return err
	}
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		switch {
		case entry.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "bin" || name == "data"):
			return fs.SkipDir
		case entry.IsDir(), strings.HasSuffix(name, "_test.go"):
			return nil
		}
		_, err = os.Stat(path)
		return err
	})
}

// root is the directory of go.mod, at or above the one that this runs in.
func root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		_, err := os.Stat(filepath.Join(dir, "go.mod"))
		if above := filepath.Dir(dir); err != nil && above != dir {
			dir = above
			continue
		}
		return dir, err
	}
}
