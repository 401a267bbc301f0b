// Package twins runs the simulated ThreatMatch, OpenCTI and RabbitMQ as processes of their own, so that what they take of the
// machine is not taken for the connector's.
package twins

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/bench/process"
)

// Kind is what a twin simulates.
type Kind string

// The twins that there are.
const (
	ThreatMatch Kind = "threatmatch"
	OpenCTI     Kind = "opencti"
	RabbitMQ    Kind = "rabbitmq"
)

// Settings say what a twin is; each kind has its own part.
type Settings struct {
	ThreatMatch ThreatMatchSettings
	OpenCTI     OpenCTISettings
	RabbitMQ    RabbitMQSettings
}

// Ready is what a twin says when it can be reached.
type Ready struct {
	URL string
}

// Account is what a twin says of its life at its end; each kind has its own part.
type Account struct {
	Items, Pages Asked      // of ThreatMatch
	Calls        int        // of ThreatMatch, with tokens and lists
	Works        []Work     // of OpenCTI
	Arrived      []Arrivals // of RabbitMQ
}

// Command is the word of the command line that makes this program a twin; its kind and its settings follow.
const Command = "twin"

// patience bounds what a twin takes to begin, for it may have many pages to make, and to end.
const patience = 2 * time.Minute

// Twin is a twin under way.
type Twin struct {
	Ready
	kind    Kind
	process *process.Process
	in      io.Closer // what it waits on
	out     *os.File  // what it says
	said    *json.Decoder
}

// Start starts a twin: this program anew. It runs until End, until ctx ends, or until this program does.
func Start(ctx context.Context, kind Kind, s Settings) (_ *Twin, err error) {
	fail := func(err error) (*Twin, error) { return nil, fmt.Errorf("start the twin of %s: %w", kind, err) }
	program, err := os.Executable()
	if err != nil {
		return fail(err)
	}
	settings, err := json.Marshal(s)
	if err != nil {
		return fail(err)
	}
	out, said, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	cmd := exec.Command(program, Command, string(kind), string(settings))
	cmd.Stdout, cmd.Stderr = said, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return fail(errors.Join(err, out.Close(), said.Close()))
	}
	p, err := process.Start(ctx, cmd)
	if err := errors.Join(err, said.Close()); err != nil { // the child has its own
		return fail(errors.Join(err, in.Close(), out.Close()))
	}
	t := &Twin{kind: kind, process: p, in: in, out: out, said: json.NewDecoder(out)}
	if err := errors.Join(out.SetReadDeadline(time.Now().Add(patience)), t.said.Decode(&t.Ready)); err != nil {
		_, ended := t.End()
		return fail(errors.Join(err, ended))
	}
	return t, nil
}

// CPU is the processor time that the twin took so far, and whether the system tells.
func (t *Twin) CPU() (time.Duration, bool) { return t.process.CPU() }

// End ends the twin and returns its account.
func (t *Twin) End() (Account, error) {
	var a Account
	err := errors.Join(t.in.Close(), t.out.SetReadDeadline(time.Now().Add(patience)))
	if err == nil {
		err = t.said.Decode(&a)
	}
	_, ended := t.process.Wait(patience)
	if err := errors.Join(err, ended, t.out.Close()); err != nil {
		return a, fmt.Errorf("end the twin of %s: %w", t.kind, err)
	}
	return a, nil
}

// simulated is a remote that this process serves.
type simulated interface {
	url() string
	account() Account
	close() error
}

// Serve is the body of a twin's process: it says on out where it is, and at the end of in, what came of it.
func Serve(kind, settings string, in io.Reader, out io.Writer) error {
	var s Settings
	if err := json.Unmarshal([]byte(settings), &s); err != nil {
		return fmt.Errorf("read the settings of a twin: %w", err)
	}
	var remote simulated
	var err error
	switch Kind(kind) {
	case ThreatMatch:
		remote, err = startThreatMatch(s.ThreatMatch)
	case OpenCTI:
		remote, err = startOpenCTI(s.OpenCTI)
	case RabbitMQ:
		remote, err = startRabbitMQ(s.RabbitMQ)
	default:
		err = errors.New("there is none of this kind")
	}
	if err != nil {
		return fmt.Errorf("simulate %s: %w", kind, err)
	}
	say := json.NewEncoder(out)
	err = say.Encode(Ready{URL: remote.url()})
	if err == nil {
		_, err = io.Copy(io.Discard, in)
	}
	// Whatever is under way ends before it is counted.
	err = errors.Join(err, remote.close())
	return errors.Join(err, say.Encode(remote.account()))
}
