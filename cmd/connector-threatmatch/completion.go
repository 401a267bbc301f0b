package main

import (
	"io"

	"github.com/alecthomas/kong"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/completion"
)

type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"One of bash, zsh, fish."`
}

// Help shows how it is used.
func (completionCommand) Help() string {
	return "Examples, for good:\n\n" +
		"  echo 'eval \"$(connector-threatmatch completion bash)\"' >> ~/.bashrc\n" +
		"  connector-threatmatch completion zsh > \"${fpath[1]}/_connector-threatmatch\"\n" +
		"  connector-threatmatch completion fish > ~/.config/fish/completions/connector-threatmatch.fish"
}

// Run prints the script.
func (c completionCommand) Run(parsed *kong.Context, con console) error {
	scripts := map[string]func(*kong.Application) string{"bash": completion.Bash, "zsh": completion.Zsh, "fish": completion.Fish}
	_, err := io.WriteString(con.stdout, scripts[c.Shell](parsed.Model))
	return err
}
