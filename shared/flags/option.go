package flags

import (
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
)

var (
	_ cli.Flag              = (*option)(nil)
	_ cli.VisibleFlag       = (*option)(nil)
	_ cli.DocGenerationFlag = (*option)(nil)
)

// option is one flag as urfave/cli wants it. It is not one of cli's own types because those each treat an empty
// variable, a list's default and a bad value in another way.
type option struct {
	name      string
	variable  string
	heading   string // of the section that this option opens, or empty
	usage     string
	kind      string // what stands for the value in the help; empty for a flag without a value
	byDefault string
	value     value
	given     bool
}

// Apply reads the environment and declares the flag; arguments are parsed afterwards and so win.
func (o *option) Apply(set *flag.FlagSet) error {
	if text, ok := os.LookupEnv(o.variable); ok && (text != "" || o.value.takesEmpty()) {
		if err := o.value.Set(text); err != nil {
			return fmt.Errorf("invalid value %q for environment variable %s: %w", text, o.variable, err)
		}
		o.given = true
	}
	o.value.settle()
	set.Var(o.value, o.name, o.usage)
	return nil
}

func (o *option) Names() []string { return []string{o.name} }

// IsSet says whether the environment gave a value; urfave/cli knows of the arguments itself.
func (o *option) IsSet() bool { return o.given }

func (o *option) IsVisible() bool { return true }

func (o *option) GetEnvVars() []string { return []string{o.variable} }

func (o *option) TakesValue() bool { return o.kind != "" }

func (o *option) GetUsage() string { return o.usage }

func (o *option) GetValue() string { return o.byDefault }

func (o *option) GetDefaultText() string { return o.byDefault }

// String is the flag's entry in the help: a line to type from, then what it means.
func (o *option) String() string {
	var b strings.Builder
	if o.heading != "" {
		b.WriteString("\n" + o.heading + "\n\n")
	}
	b.WriteString("  --" + o.name)
	if o.kind != "" {
		b.WriteString(" " + o.kind)
	}
	if o.byDefault != "" && o.byDefault != "false" {
		b.WriteString("  (default " + o.byDefault + ")")
	}
	b.WriteString("  $" + o.variable)
	for _, line := range wrap(o.usage, helpWidth) {
		b.WriteString("\n      " + line)
	}
	return b.String()
}

// HelpTemplate is for the CustomHelpTemplate of a command. urfave/cli's own sorts sections and flags by name, so that
// the help cannot be read as a manual.
const HelpTemplate = `{{.HelpName}} - {{.Usage}}

Usage: {{template "usageTemplate" .}}
{{if .Description}}
{{.Description}}
{{end}}{{range .VisibleFlags}}{{if ne (index .Names 0) "help"}}
{{.}}{{end}}{{end}}
`

// helpWidth leaves the help within 80 columns after its indentation.
const helpWidth = 74

func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
