package programs

import (
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
	packages []string // as ./proxy
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
	here, err := os.Getwd()
	if err != nil {
		return "", err
	}
	root, err := rootOf(here)
	if err != nil {
		return "", err
	}
	if err := touch(root); err != nil {
		return "", err
	}
	if dir, err = os.MkdirTemp("", "keygate-"); err != nil {
		return "", err
	}
	cmd := exec.Command("go", append([]string{"build", "-buildvcs=false", "-o", dir}, packages...)...)
	cmd.Dir = root
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("building the programs: %w\n%s", err, output), os.RemoveAll(dir))
	}
	return dir, nil
}

// rootOf is the directory of go.mod.
func rootOf(dir string) (string, error) {
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		} else if dir == filepath.Dir(dir) {
			return "", err
		}
	}
}

// touch looks at every file that a program may be built from. That is how go test learns what these tests depend on: it
// knows which files a test asks for itself, and would go on telling an old result of programs that have changed.
func touch(root string) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		name := entry.Name()
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "bin" || name == "data"):
			return fs.SkipDir
		case entry.IsDir(), strings.HasSuffix(name, "_test.go"):
			return nil
		}
		_, err = os.Stat(path)
		return err
	})
}
