package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"
)

const completionHelp = `The script runs this program for what it offers. That for bash needs the package bash-completion.

Examples, for good:

    echo 'eval "$(connector-threatmatch completion bash)"' >> ~/.bashrc
    connector-threatmatch completion zsh > "${fpath[1]}/_connector-threatmatch"
    connector-threatmatch completion fish > ~/.config/fish/completions/connector-threatmatch.fish`

// completion prints the script for a shell.
func (l *commandLine) completion() *cobra.Command {
	scripts := map[string]func(*cobra.Command, io.Writer) error{
		"bash": func(root *cobra.Command, out io.Writer) error { return root.GenBashCompletionV2(out, true) },
		"zsh":  (*cobra.Command).GenZshCompletion,
		"fish": func(root *cobra.Command, out io.Writer) error { return root.GenFishCompletion(out, true) },
	}
	shells := []string{"bash", "zsh", "fish"}
	var at *cobra.Command
	at = l.command("completion SHELL", "Print a script with which bash, zsh or fish completes commands and flags.", completionHelp, func(_ context.Context, args []string) error {
		shell, err := word("SHELL", args[0], shells)
		if err != nil {
			return err
		}
		return scripts[shell](at.Root(), l.con.stdout)
	})
	at.ValidArgs = shells
	return at
}
