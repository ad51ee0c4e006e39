package lifecycle

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"keygate/shared/flags"
)

// complete takes from urfave/cli what it does about errors: printing the whole help, exiting by itself, and saying
// nothing of words that it does not know.
func complete(app *cli.App) {
	app.ExitErrHandler = func(*cli.Context, error) {}
	app.OnUsageError = usageError
	app.Action = checked(app.Action, app.ArgsUsage, cli.ShowAppHelp)
	for _, command := range app.Commands {
		completeCommand(command)
	}
}

func completeCommand(command *cli.Command) {
	command.OnUsageError = usageError
	command.Action = checked(command.Action, command.ArgsUsage, cli.ShowSubcommandHelp)
	if command.CustomHelpTemplate == "" && len(command.Subcommands) == 0 {
		command.CustomHelpTemplate = flags.HelpTemplate
	}
	for _, sub := range command.Subcommands {
		completeCommand(sub)
	}
}

// checked refuses arguments unless the command says in its usage what they are. A command without an action only has
// others below it: alone, it shows its help.
func checked(action cli.ActionFunc, argsUsage string, help func(*cli.Context) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		switch {
		case c.Args().Present() && action == nil:
			return fmt.Errorf("unknown command %q; see %s --help", c.Args().First(), name(c))
		case c.Args().Present() && argsUsage == "":
			return fmt.Errorf("unexpected argument %q; see %s --help", c.Args().First(), name(c))
		case action == nil:
			return help(c)
		}
		return action(c)
	}
}

func usageError(c *cli.Context, err error, _ bool) error {
	return fmt.Errorf("%w; see %s --help", err, name(c))
}

func name(c *cli.Context) string {
	if c.Command.HelpName != "" {
		return c.Command.HelpName
	}
	return c.App.Name
}

// arrange puts the flags of the command that args name before its arguments, as package flag wants them, so that
// `keys rotate PREFIX --overlap 1h` means what it says. What follows "--" stays where it is.
func arrange(app *cli.App, args []string) []string {
	if len(args) == 0 {
		return args
	}
	head, declared, commands := args[:1:1], app.Flags, app.Commands
	var options, words []string
	for i := 1; i < len(args); i++ {
		arg := args[i]
		command := find(commands, arg)
		switch {
		case arg == "--":
			words = append(words, args[i+1:]...)
			i = len(args)
		case len(arg) > 1 && arg[0] == '-':
			options = append(options, arg)
			if takesNext(declared, arg) && i+1 < len(args) {
				i++
				options = append(options, args[i])
			}
		case len(words) == 0 && command != nil:
			head = append(append(head, options...), arg)
			options, declared, commands = nil, command.Flags, command.Subcommands
		default:
			words = append(words, arg)
		}
	}
	head = append(head, options...)
	if len(words) > 0 {
		head = append(append(head, "--"), words...)
	}
	return head
}

func find(commands []*cli.Command, name string) *cli.Command {
	for _, command := range commands {
		if command.HasName(name) {
			return command
		}
	}
	return nil
}

// takesNext says whether arg is a flag whose value is the next argument. What nobody declared takes none: parsing
// it is going to say so.
func takesNext(declared []cli.Flag, arg string) bool {
	for _, f := range declared {
		for _, name := range f.Names() {
			if arg == "-"+name || arg == "--"+name {
				described, ok := f.(cli.DocGenerationFlag)
				return ok && described.TakesValue()
			}
		}
	}
	return false
}
