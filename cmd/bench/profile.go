package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/opencti-connectors/threatmatch/cmd/bench/report"
)

// profiledObjects are how many a profile is taken of: some seconds' work.
const profiledObjects = 150_000

// profile runs the connector over intelligence of the medium shape's proportions, leaves profiles of the whole run, and prints the
// top of each.
func profile(ctx context.Context, args []string, out, problems io.Writer) (err error) {
	flags := flag.NewFlagSet("bench profile", flag.ContinueOnError)
	flags.SetOutput(problems)
	folder := flags.String("out", "bench/profiles", "folder for the profiles")
	objects := flags.Int("objects", profiledObjects, "about how many objects to import")
	lines := flags.Int("lines", 20, "of each profile to print")
	if err := flags.Parse(args); err != nil {
		return err
	}
	b := &bench{report: report.New(), say: problems}
	if b.self, err = os.Executable(); err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if *folder, err = filepath.Abs(*folder); err != nil {
		return err
	}
	if err := os.MkdirAll(*folder, 0o755); err != nil {
		return fmt.Errorf("make the folder of the profiles: %w", err)
	}
	if b.dir, err = os.MkdirTemp("", "connector-threatmatch-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.clear()) }()
	holds := generated(mixed(*objects))
	holds.Fresh = *objects > keptAtMost
	if _, err := withSource(ctx, holds, 0, func(from source) error {
		_, messages, err := b.lookInside(ctx, from, *folder)
		if err == nil {
			fmt.Fprintf(out, "%s\n", says(holds.Shape, messages))
		}
		return err
	}); err != nil {
		return err
	}
	return printTops(ctx, *folder, *lines, out, problems)
}

// printTops prints the beginning of each profile, with Go's own tool.
func printTops(ctx context.Context, folder string, lines int, out, problems io.Writer) error {
	// What waits is always a function of the runtime: shown is in which of the project's.
	const ours = "-show=" + module
	for _, p := range []struct{ file, title, index, show string }{
		{cpuProfile, "CPU", "cpu", ""},
		{allocationProfile, "allocations", "alloc_objects", ""},
		{allocationProfile, "allocated bytes", "alloc_space", ""},
		{blockProfile, "waiting, for channels and others", "delay", ours},
		{mutexProfile, "waiting for locks", "delay", ours},
	} {
		path := filepath.Join(folder, p.file)
		fmt.Fprintf(out, "\n== %s (%s)\n", p.title, path)
		args := []string{"tool", "pprof", "-top", fmt.Sprintf("-nodecount=%d", lines), "-sample_index=" + p.index}
		if p.show != "" {
			args = append(args, p.show)
		}
		cmd := exec.CommandContext(ctx, "go", append(args, path)...)
		cmd.Stdout, cmd.Stderr = out, problems
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("print %s with go tool pprof: %w", path, err)
		}
	}
	return nil
}
