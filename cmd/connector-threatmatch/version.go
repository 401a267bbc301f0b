package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// version and commit are set by the linker, where the source is built without its history; see [versionText].
var version, commit = "", ""

type versionCommand struct{ JSON bool }

func (l *commandLine) version() *cobra.Command {
	var c versionCommand
	at := l.command("version", "Print version, commit and Go version.", "Example: connector-threatmatch version --json",
		func(context.Context, []string) error { return c.Run(l.con) })
	at.Flags().BoolVar(&c.JSON, "json", false, "Print it as JSON.")
	return at
}

// Run prints the version.
func (c versionCommand) Run(con console) error {
	if c.JSON {
		return con.printJSON(thisBuild())
	}
	_, err := fmt.Fprintln(con.stdout, thisBuild())
	return err
}

// build is what is known of how the program was made.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"`             // "" where the toolchain was not told
	Modified bool   `json:"modified,omitempty"` // the source was not that of the commit
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// String is a line for each.
func (b build) String() string {
	commit := b.Commit
	if commit == "" {
		commit = "unknown"
	}
	if b.Modified {
		commit += " (modified)"
	}
	return fmt.Sprintf("version  %s\ncommit   %s\ngo       %s %s", b.Version, commit, b.Go, b.Platform)
}

func thisBuild() build {
	b := build{Version: versionText(), Commit: commit, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Commit = s.Value
			case "vcs.modified":
				b.Modified = s.Value == "true"
			}
		}
	}
	return b
}

// versionText is the linker's version, else what the toolchain knows of the source.
func versionText() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return strings.Trim(info.Main.Version, "()")
}
