package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/bench/report"
	"github.com/opencti-connectors/threatmatch/cmd/bench/twins"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
)

// measureCorpus imports the open corpus, with the Python connector and this one in turn where there is that.
func (b *bench) measureCorpus(ctx context.Context) error {
	at, broker := place{}, "a broker that confirms at once"
	if b.node != nil {
		at, broker = place{url: b.node.URL(), queue: classic.name}, "RabbitMQ"
	}
	python, err := findPython(ctx, b.python)
	if err != nil {
		b.report.Skip(err.Error(), report.Python)
	}
	holds, says := b.openCorpus()
	_, err = withSource(ctx, holds, 0, func(from source) error {
		for range b.rounds(b.corpusRounds) {
			own, err := b.once(ctx, from, at)
			if err != nil {
				return err
			}
			b.report.Add(report.CorpusTime, own.untilQueued().Seconds()*1000)
			b.report.Row(report.CorpusTime).Note = "with " + broker + ", of " + says
			b.report.Input.Corpus = fmt.Sprintf("%s, %s objects", says, words.Grouped(own.messages))
			if python == nil {
				continue
			}
			other, err := b.onceInPython(ctx, *python, from, at)
			if ctx.Err() == nil && err != nil { // it is not this project's: one row goes without
				fmt.Fprintln(b.say, err)
				b.report.Skip("its run failed", report.Python)
				python = nil
				continue
			}
			if err != nil {
				return err
			}
			b.report.Add(report.Python, float64(other.untilQueued())/float64(own.untilQueued()))
			b.report.Row(report.Python).Note = fmt.Sprintf("from the start of the process until all is in the queue of %s: %s messages of the Python connector, the last time in %s, %s of this one in %s",
				broker, words.Grouped(other.messages), other.untilQueued().Round(100*time.Millisecond), words.Grouped(own.messages), own.untilQueued().Round(10*time.Millisecond))
		}
		return nil
	})
	return err
}

// openCorpus is the real intelligence where it is, else generated intelligence of about its amount.
func (b *bench) openCorpus() (holds twins.Intelligence, says string) {
	if b.corpus != "" {
		return twins.Intelligence{Folder: b.corpus}, "real intelligence of profiles, alerts and indicators"
	}
	s := shape(min(172, b.medium.Profiles), min(52, b.medium.Alerts), min(4079, b.medium.Indicators))
	return generated(s), "not there; generated intelligence of about its amount was taken"
}

// untilQueued is the time from the start of the process until the last message was in the queue.
func (r run) untilQueued() time.Duration {
	at := slices.IndexFunc(r.arrived, func(a twins.Arrivals) bool { return a.Messages >= r.messages })
	if at < 0 {
		return r.Wall
	}
	return r.arrived[at].At.Sub(r.Started)
}

// python is the Python connector.
type python struct{ interpreter, folder string }

// findPython looks whether a checkout of the Python connector can be run. The error says why not.
func findPython(ctx context.Context, checkout string) (*python, error) {
	if checkout == "" {
		return nil, errors.New("BENCH_PYTHON names no checkout of it")
	}
	folder, err := filepath.Abs(filepath.Join(checkout, "src"))
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(folder, "main.py")); err != nil {
		return nil, errors.New("BENCH_PYTHON has no src/main.py")
	}
	name := os.Getenv("BENCH_PYTHON_BIN")
	if name == "" {
		name = "python3"
	}
	interpreter, err := exec.LookPath(name)
	if err != nil {
		return nil, fmt.Errorf("there is no %s", name)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := exec.CommandContext(ctx, interpreter, "-c", "import pycti, connectors_sdk").Run(); err != nil {
		return nil, fmt.Errorf("%s lacks pycti or connectors_sdk; BENCH_PYTHON_BIN names another one", name)
	}
	return &python{interpreter, folder}, nil
}

// pythonLimit bounds a run of the Python connector, which takes half a minute.
const pythonLimit = 2 * time.Minute

// onceInPython is once for the Python connector.
func (b *bench) onceInPython(ctx context.Context, p python, from source, at place) (r run, err error) {
	ctx, cancel := context.WithTimeout(ctx, pythonLimit)
	defer cancel()
	w, err := b.newWorld(ctx, at)
	if err != nil {
		return r, err
	}
	var watch *watcher
	if at.url != "" {
		watch = watchQueue(at.url, w.queue())
	}
	cmd := exec.Command(p.interpreter, "main.py")
	cmd.Dir = p.folder
	environ := w.environ(from, "PATH="+os.Getenv("PATH"), "CONNECTOR_NAME=ThreatMatch", "CONNECTOR_TYPE=EXTERNAL_IMPORT", "CONNECTOR_SCOPE=threatmatch", "PYTHONDONTWRITEBYTECODE=1")
	r.Footprint, err = w.command(ctx, cmd, lookOften, environ)
	if watch != nil {
		var watched error
		r.arrived, watched = watch.end()
		err = errors.Join(err, watched)
	}
	a, ended := w.end()
	if at.url == "" {
		r.arrived = a.Arrived
	}
	if err := errors.Join(err, ended); err != nil {
		return r, fmt.Errorf("the Python connector: %w", err)
	}
	if len(r.arrived) == 0 {
		return r, errors.New("the Python connector sent nothing")
	}
	r.messages = r.arrived[len(r.arrived)-1].Messages
	return r, nil
}
