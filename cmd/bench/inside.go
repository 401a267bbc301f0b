package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/connector"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status"
)

// insideCommand is the word of the command line that makes this program the connector, looked at from inside; a folder for its
// profiles may follow.
const insideCommand = "inside"

// allocated is what a run has allocated.
type allocated struct{ Allocations, Bytes uint64 }

// The profiles that a run leaves, beside that of the processor.
const (
	cpuProfile        = "cpu.pprof"
	allocationProfile = "allocs.pprof"
	blockProfile      = "block.pprof"
	mutexProfile      = "mutex.pprof"
)

// inside runs the connector in this process, with the environment's configuration, and says what it has allocated. A folder gets
// profiles of the processor, of allocations, and of where goroutines wait.
func inside(ctx context.Context, folder []string, out io.Writer) (err error) {
	cfg, _, err := config.Load("", false, os.Environ())
	if err != nil {
		return err
	}
	connector.LimitMemory(cfg)
	if len(folder) > 0 {
		stop, err := startProfiles(folder[0])
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := connector.Run(ctx, cfg, status.NewLogger(cfg, os.Stderr), connector.Options{Version: "bench"}); err != nil {
		return err
	}
	runtime.ReadMemStats(&after)
	return json.NewEncoder(out).Encode(allocated{after.Mallocs - before.Mallocs, after.TotalAlloc - before.TotalAlloc})
}

// startProfiles begins to profile this process, until the returned function writes the profiles down.
func startProfiles(folder string) (stop func() error, err error) {
	runtime.SetBlockProfileRate(10_000) // a sample for each 10 µs of waiting: all would slow what is measured
	runtime.SetMutexProfileFraction(10)
	f, err := os.Create(filepath.Join(folder, cpuProfile))
	if err != nil {
		return nil, fmt.Errorf("write profiles: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		errs := []error{f.Close()}
		for file, name := range map[string]string{allocationProfile: "allocs", blockProfile: "block", mutexProfile: "mutex"} {
			errs = append(errs, writeProfile(filepath.Join(folder, file), name))
		}
		return errors.Join(errs...)
	}, nil
}

func writeProfile(path, name string) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write profiles: %w", err)
	}
	return errors.Join(pprof.Lookup(name).WriteTo(f, 0), f.Close())
}
