package rabbitmqtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// errPortTaken says that a port chosen for the node was taken before it could listen.
var errPortTaken = errors.New("port taken")

// tools are the programs that a node is made of.
type tools struct{ server, epmd string }

// toolFolders hold RabbitMQ's own scripts. Those in the search path are not used: Debian's refuse to work for a user who
// is neither root nor rabbitmq, and become rabbitmq for root.
var toolFolders = []string{"/usr/lib/rabbitmq/bin", "/opt/rabbitmq/sbin"}

func findTools() (tools, error) {
	epmd, err := exec.LookPath("epmd")
	if err != nil {
		return tools{}, ErrNotInstalled
	}
	for _, folder := range toolFolders {
		server := filepath.Join(folder, "rabbitmq-server")
		if _, err := os.Stat(server); err == nil {
			return tools{server: server, epmd: epmd}, nil
		}
	}
	return tools{}, ErrNotInstalled
}

// writeCookie makes the secret that lets rabbitmqctl command the node. A stopped node's is kept.
func (n *Node) writeCookie() error {
	err := os.WriteFile(n.path(".erlang.cookie"), []byte(rand.Text()), 0o400)
	if errors.Is(err, fs.ErrPermission) {
		_, err = os.Stat(n.path(".erlang.cookie"))
	}
	if err != nil {
		return fmt.Errorf("place node: %w", err)
	}
	return nil
}

// freePort finds a port on the loopback interface that nothing listens on, below those that the system gives to clients:
// one of these could take it while the node is down.
func freePort() (int, error) {
	const first, last, tries = 20000, 32000, 100
	for range tries {
		port := first + mathrand.IntN(last-first)
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		if err := listener.Close(); err != nil {
			return 0, fmt.Errorf("find free port: %w", err)
		}
		return port, nil
	}
	return 0, fmt.Errorf("find free port: none of %d between %d and %d", tries, first, last)
}

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
