package flags

import (
	"flag"
	"fmt"
	"os"
	"strings"
)

// MinSecret is the fewest bytes that a secret may have.
const MinSecret = 16

// secretFlag is an option that names a file, beside a variable that may hold the secret itself.
type secretFlag struct {
	option
	inline string
	dst    *string
}

// Apply reads the secret's own variable, then the option's. Both set is an error: one of them is out of date.
func (f *secretFlag) Apply(set *flag.FlagSet) error {
	secret := os.Getenv(f.inline)
	if secret != "" && os.Getenv(f.variable) != "" {
		return fmt.Errorf("both %s and %s are set; keep one", f.inline, f.variable)
	}
	if secret != "" {
		secret, err := trimSecret(secret)
		if err != nil {
			return fmt.Errorf("invalid value for environment variable %s: %w", f.inline, err)
		}
		*f.dst, f.given = secret, true
	}
	return f.option.Apply(set)
}

// secretFile is a value that is set to the path of a file and holds what the file holds.
type secretFile struct {
	dst  *string
	path string
}

func (f *secretFile) Set(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the secret: %w", err)
	}
	secret, err := trimSecret(string(content))
	if err != nil {
		return err
	}
	*f.dst, f.path = secret, path
	return nil
}

// String is the path and never the secret: it is printed as the default in the help.
func (f *secretFile) String() string { return f.path }

func (f *secretFile) takesEmpty() bool { return false }

func (f *secretFile) settle() {}

// trimSecret drops the line ending that editors and echo leave at the end of a file. Environments filled from such
// files carry it too.
func trimSecret(text string) (string, error) {
	secret := strings.TrimRight(text, "\r\n")
	if len(secret) < MinSecret {
		return "", fmt.Errorf("a secret must have at least %d bytes and this has %d; `openssl rand -hex 32` makes a good one",
			MinSecret, len(secret))
	}
	return secret, nil
}
