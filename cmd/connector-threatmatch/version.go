package main

import (
	"fmt"
	"runtime/debug"
	"strings"
)

// version is set by the linker; see [versionText].
var version = ""

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run(con console) error {
	_, err := fmt.Fprintln(con.stdout, versionText())
	return err
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
