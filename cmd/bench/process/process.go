// Package process runs programs to their ends, and tells what they took of the machine meanwhile.
package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// grace is how long a program may take to end when it is told to.
const grace = 10 * time.Second

// Footprint is what a program took.
type Footprint struct {
	Started   time.Time
	Wall, CPU time.Duration
	Peak      int64 // bytes in RAM at most, its file included; 0 where the system does not tell
	Anonymous int64 // without what files back: the largest of the samples, as the system keeps no record of it
	Memory    []Sample
}

// Sample is the memory of a program at a moment.
type Sample struct {
	At        time.Duration // since its start
	Resident  int64         // bytes
	Anonymous int64
}

// Process is a program under way.
type Process struct {
	cmd     *exec.Cmd
	started time.Time
	ended   chan error
}

// Start starts a program. It is asked to end when ctx does, and ends with this program whatever happens to it, where the system can
// see to that. The caller waits for it.
func Start(ctx context.Context, cmd *exec.Cmd) (*Process, error) {
	p := &Process{cmd: cmd, ended: make(chan error, 1)}
	attach(cmd)
	started := make(chan error, 1)
	go func() {
		// The child ends with the thread that started it, so the thread must not end before.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		p.started = time.Now()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.ended <- p.wait(ctx)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return p, nil
}

// wait waits for the end, and brings it about where ctx ends first.
func (p *Process) wait(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended, here and below
		time.AfterFunc(grace, func() { _ = p.cmd.Process.Kill() })
	})
	defer stop()
	return p.cmd.Wait()
}

// Wait waits for the program's end and looks at its memory every so often until then. The error says how it ended, unless with
// status 0.
func (p *Process) Wait(every time.Duration) (Footprint, error) {
	f := Footprint{Started: p.started}
	look := time.NewTicker(every)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			p.look(&f)
		case err := <-p.ended:
			f.Wall, f.CPU = time.Since(p.started), p.cmd.ProcessState.UserTime()+p.cmd.ProcessState.SystemTime()
			return f, err
		}
	}
}

// look adds the memory of the moment. The figure that comes with the exit would begin with the memory of this process, which the
// child was forked from.
func (p *Process) look(f *Footprint) {
	now := time.Since(p.started)
	if m, ok := memoryOf(p.cmd.Process.Pid); ok {
		f.Memory = append(f.Memory, Sample{now, m.resident, m.anonymous})
		f.Peak, f.Anonymous = max(f.Peak, m.peak), max(f.Anonymous, m.anonymous)
	}
}

// CPU is the processor time that the program took so far, and whether the system tells.
func (p *Process) CPU() (time.Duration, bool) { return cpuOf(p.cmd.Process.Pid) }

// memory is what Linux says of a process, in bytes.
type memory struct{ resident, peak, anonymous int64 }

func memoryOf(pid int) (m memory, ok bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return m, false
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		var into *int64
		switch name {
		case "VmRSS":
			into = &m.resident
		case "VmHWM":
			into = &m.peak
		case "RssAnon":
			into = &m.anonymous
		default:
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return m, false
		}
		*into = kib << 10
	}
	return m, m.resident > 0 // one that has just ended has none
}

// ticks are the units of processor time in /proc, a hundredth of a second on every Linux that Go runs on.
const ticks = 10 * time.Millisecond

func cpuOf(pid int) (time.Duration, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	// The name before is in parentheses and may hold anything.
	_, rest, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')'):]), " ")
	fields := strings.Fields(rest)
	const user, system = 11, 12 // from the state on
	if len(fields) <= system {
		return 0, false
	}
	u, errU := strconv.ParseInt(fields[user], 10, 64)
	s, errS := strconv.ParseInt(fields[system], 10, 64)
	if errors.Join(errU, errS) != nil {
		return 0, false
	}
	return time.Duration(u+s) * ticks, true
}
