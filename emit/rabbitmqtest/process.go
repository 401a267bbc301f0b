package rabbitmqtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// errPortTaken says that a port chosen for the node was taken before it could listen.
var errPortTaken = errors.New("port taken")

const (
	pollEvery = 50 * time.Millisecond
	dialLimit = 10 * time.Second
)

// process is a program that this one started. The methods of a nil process do nothing.
type process struct {
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
	err   error // how it ended; after ended
}

// startProcess starts a program that writes into the file log.
func startProcess(program string, args, environment []string, log string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Env = filepath.Dir(log), environment
	cmd.Stdout, cmd.Stderr = out, out
	setAttributes(cmd)
	p := &process{cmd: cmd, log: log, ended: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The child is told to end with the thread that started it, so the thread must not end before.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
		_ = out.Close() // the child's writes are its own
		close(p.ended)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// failure describes an end that was not asked for.
func (p *process) failure() error {
	text, _ := os.ReadFile(p.log) // without it the status has to do
	err := fmt.Errorf("%s ended by itself (%v): %s", filepath.Base(p.cmd.Path), p.err, tail(text))
	if bytes.Contains(text, []byte("eaddrinuse")) || bytes.Contains(text, []byte("in use")) {
		return errors.Join(errPortTaken, err)
	}
	return err
}

// listens waits until the process accepts connections on addr.
func (p *process) listens(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			return nc.Close()
		}
		select {
		case <-p.ended:
			return p.failure()
		case <-ctx.Done():
			return fmt.Errorf("%w; last answer: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// terminate asks the process to end and waits; when ctx ends first, it is killed.
func (p *process) terminate(ctx context.Context) error {
	if !p.running() {
		return nil
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("killed, as it did not end when asked: %w", ctx.Err()), p.kill())
	}
}

// kill ends the process at once and waits until it has ended.
func (p *process) kill() error {
	if !p.running() {
		return nil
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.ended
	return nil
}

// tail is the end of what a program printed, on one line.
func tail(printed []byte) string {
	const enough = 600
	text := strings.Join(strings.Fields(string(printed)), " ")
	if len(text) > enough {
		text = "…" + text[len(text)-enough:]
	}
	return text
}
