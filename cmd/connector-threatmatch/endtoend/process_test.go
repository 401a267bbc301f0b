package endtoend

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// testBinary builds the program once for all tests of the process.
func testBinary(t *testing.T) string {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.binary != "" {
		return shared.binary
	}
	dir, err := sharedDir()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "connector-threatmatch")
	if out, err := exec.Command("go", "build", "-o", path, "..").CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	shared.binary = path
	return path
}

// Exit statuses of the program.
const (
	exitOK        = 0
	exitRunFailed = 1
	exitUsage     = 2
)

// program is one run of the binary as a process.
type program struct {
	t       *testing.T
	cmd     *exec.Cmd
	started time.Time
	done    chan struct{} // closed when it has ended
	took    time.Duration // valid once done
	err     error         // of Wait, valid once done

	mu   sync.Mutex
	text bytes.Buffer // stdout and stderr
}

// Write takes the output of the process.
func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *program) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// start starts the program in the world's environment, with changes of the form NAME=value; NAME= takes one away.
func (w *world) start(changes ...string) *program {
	w.t.Helper()
	return w.startCommand(nil, changes...)
}

// startCommand starts the program with a command line.
func (w *world) startCommand(args []string, changes ...string) *program {
	w.t.Helper()
	p := startProgram(w.t, args, w.environ(changes...))
	w.mu.Lock()
	w.programs = append(w.programs, p)
	w.mu.Unlock()
	return p
}

// startProgram starts the program with a command line in an environment of its own.
func startProgram(t *testing.T, args, environ []string) *program {
	t.Helper()
	p := &program{t: t, cmd: exec.Command(testBinary(t), args...), done: make(chan struct{})}
	p.cmd.Env = environ
	p.cmd.Dir = t.TempDir() // no config.yml there
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.started = time.Now()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		p.took = time.Since(p.started)
		close(p.done)
	}()
	t.Cleanup(p.end)
	return p
}

// run runs the program to its end and wants an exit status.
func (w *world) run(status int, changes ...string) *program {
	w.t.Helper()
	p := w.start(changes...)
	p.wants(status)
	return p
}

// wants waits for the end and wants an exit status; a program that a signal has ended has minus the signal's number.
func (p *program) wants(status int) {
	p.t.Helper()
	if got := p.wait(); got != status {
		p.t.Fatalf("exit status %d, want %d\n%s", got, status, p.tail())
	}
}

// wait waits for the end and returns the exit status, minus a signal's number if one has ended it.
func (p *program) wait() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(hang):
		p.t.Fatalf("the program still runs after %s\n%s", hang, p.tail())
	}
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return -int(status.Signal())
	}
	return p.cmd.ProcessState.ExitCode()
}

// end kills the program if it still runs, and waits for it.
func (p *program) end() {
	_ = p.cmd.Process.Kill() // has ended already: nothing to do
	<-p.done
}

// ended reports whether the program has ended.
func (p *program) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// signal sends a signal to the program.
func (p *program) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("%v: %v\n%s", s, err, p.tail())
	}
}

// logs reports whether a text stands in the output.
func (p *program) logs(text string) bool { return strings.Contains(p.output(), text) }

// awaits waits until a text stands in the output.
func (p *program) awaits(text string) {
	p.t.Helper()
	eventually(p.t, "the log says "+text, func() bool { return p.logs(text) })
}

// tail is the end of the output, to be shown.
func (p *program) tail() string {
	const shown = 6000
	text := p.output()
	return text[max(0, len(text)-shown):]
}

// logLine is one line of the log.
type logLine struct {
	Timestamp  time.Time      `json:"timestamp"`
	Level      string         `json:"level"`
	Name       string         `json:"name"`
	Message    string         `json:"message"`
	Attributes map[string]any `json:"attributes"`
}

// lines are the log's lines; each must be JSON.
func (p *program) lines() []logLine {
	p.t.Helper()
	var lines []logLine
	for text := range strings.Lines(p.output()) {
		var line logLine
		if err := json.Unmarshal([]byte(text), &line); err != nil || line.Level == "" || line.Message == "" || line.Timestamp.IsZero() {
			p.t.Errorf("no log line: %v: %s", err, text)
			continue
		}
		lines = append(lines, line)
	}
	return lines
}

// runs are the lines with which the runs ended.
func (p *program) runs() []logLine {
	p.t.Helper()
	return slices.DeleteFunc(p.lines(), func(l logLine) bool { return !strings.HasPrefix(l.Message, "the run has ended") })
}
