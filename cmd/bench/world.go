package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/opencti-connectors/threatmatch/cmd/bench/process"
	"github.com/opencti-connectors/threatmatch/cmd/bench/twins"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// world is what a connector meets but for ThreatMatch: a platform that knows nothing yet, a broker, and a folder for its state.
type world struct {
	b        *bench
	id       string // the connector's
	dir      string
	platform *twins.Twin
	broker   *twins.Twin // nil for a real one
	url      string      // the broker's
}

// place says where messages go.
type place struct {
	url    string // of a real broker, "" for one that confirms at once
	queue  string // its type, "" for the broker's default
	record string // a file to write messages to, where the broker is simulated
}

// newWorld makes a world, which the caller ends.
func (b *bench) newWorld(ctx context.Context, at place) (_ *world, err error) {
	w := &world{b: b, id: uuid.NewString(), url: at.url}
	defer func() {
		if err != nil {
			_, ended := w.end()
			err = errors.Join(err, ended)
		}
	}()
	if w.dir, err = os.MkdirTemp(b.dir, "state-"); err != nil {
		return w, err
	}
	if at.url == "" {
		if w.broker, err = twins.Start(ctx, twins.RabbitMQ, twins.Settings{RabbitMQ: twins.RabbitMQSettings{Record: at.record}}); err != nil {
			return w, err
		}
		w.url = w.broker.URL
	}
	w.platform, err = twins.Start(ctx, twins.OpenCTI, twins.Settings{OpenCTI: twins.OpenCTISettings{Broker: w.url, QueueType: at.queue}})
	return w, err
}

// end ends the world and returns what came to it.
func (w *world) end() (a twins.Account, err error) {
	if w.platform != nil {
		a, err = w.platform.End()
	}
	if w.broker != nil {
		of, failed := w.broker.End()
		a.Arrived, err = of.Arrived, errors.Join(err, failed)
	}
	return a, errors.Join(err, os.RemoveAll(w.dir))
}

// queue is where the messages lie.
func (w *world) queue() string { return "push_" + w.id }

// source is a ThreatMatch, and what it holds.
type source struct {
	*twins.Twin
	holds twins.Intelligence
}

// newSource starts a ThreatMatch.
func newSource(ctx context.Context, holds twins.Intelligence, latency time.Duration) (source, error) {
	t, err := twins.Start(ctx, twins.ThreatMatch, twins.Settings{ThreatMatch: twins.ThreatMatchSettings{Intelligence: holds, Latency: latency}})
	return source{t, holds}, err
}

// environ is the environment in which a connector finds the world, with more settings.
func (w *world) environ(from source, settings ...string) []string {
	return append([]string{
		"OPENCTI_URL=" + w.platform.URL, "OPENCTI_TOKEN=" + twins.Token, "OPENCTI_JSON_LOGGING=false",
		"THREATMATCH_URL=" + from.URL, "THREATMATCH_CLIENT_ID=" + threatmatchtest.DefaultClientID,
		"THREATMATCH_CLIENT_SECRET=" + threatmatchtest.DefaultClientSecret, "THREATMATCH_IMPORT_FROM_DATE=" + from.holds.Day(), "THREATMATCH_RATE_LIMIT=0",
		"CONNECTOR_ID=" + w.id, "CONNECTOR_STATE_DIR=" + w.dir, "CONNECTOR_RUN_AND_TERMINATE=true", "CONNECTOR_STATUS_ADDRESS=off",
		"CONNECTOR_QUEUE_THRESHOLD=1000000", // nothing consumes
	}, settings...)
}

// run is what one run of a program came to.
type run struct {
	process.Footprint
	messages int
	arrived  []twins.Arrivals
	cost     map[twins.Kind]time.Duration // CPU of the twins meanwhile
}

// runLimit bounds a run of the connector, whatever it waits for.
const runLimit = 5 * time.Minute

// connect runs the connector once.
func (w *world) connect(ctx context.Context, from source, every time.Duration, settings ...string) (process.Footprint, error) {
	return w.command(ctx, exec.Command(w.b.binary), every, w.environ(from, settings...))
}

// command runs a program, in the world's folder unless it names another one.
func (w *world) command(ctx context.Context, cmd *exec.Cmd, every time.Duration, environ []string) (process.Footprint, error) {
	ctx, cancel := context.WithTimeout(ctx, runLimit)
	defer cancel()
	cmd.Dir, cmd.Env = cmp.Or(cmd.Dir, w.dir), environ
	log, err := os.Create(filepath.Join(w.dir, "log"))
	if err != nil {
		return process.Footprint{}, err
	}
	if cmd.Stdout == nil {
		cmd.Stdout = log
	}
	cmd.Stderr = log
	p, err := process.Start(ctx, cmd)
	if err != nil {
		return process.Footprint{}, errors.Join(err, log.Close())
	}
	f, err := p.Wait(every)
	if err := errors.Join(err, log.Close()); err != nil {
		said, _ := os.ReadFile(log.Name())
		return f, fmt.Errorf("run %s: %w: %s", filepath.Base(cmd.Path), errors.Join(err, context.Cause(ctx)), said[max(0, len(said)-2000):])
	}
	return f, nil
}

// once makes a world for one run of the connector, wants it to have delivered everything, and ends the world.
func (b *bench) once(ctx context.Context, from source, at place, settings ...string) (r run, err error) {
	w, err := b.newWorld(ctx, at)
	if err != nil {
		return r, err
	}
	before := w.spent(from)
	var watch *watcher
	if at.url != "" {
		watch = watchQueue(at.url, w.queue())
	}
	r.Footprint, err = w.connect(ctx, from, lookOften, settings...)
	if watch != nil {
		var watched error
		r.arrived, watched = watch.end()
		err = errors.Join(err, watched)
	}
	r.cost = w.spent(from)
	for kind := range r.cost {
		r.cost[kind] -= before[kind]
	}
	a, ended := w.end()
	if at.url == "" {
		r.arrived = a.Arrived
	}
	if err := errors.Join(err, ended); err != nil {
		return r, err
	}
	r.messages, err = delivered(a)
	if err == nil && (len(r.arrived) == 0 || r.arrived[len(r.arrived)-1].Messages != r.messages) {
		err = fmt.Errorf("OpenCTI expects %d messages, and the broker has others", r.messages)
	}
	return r, err
}

// spent is the CPU that each twin took so far, without those of which the system does not tell.
func (w *world) spent(from source) map[twins.Kind]time.Duration {
	spent := map[twins.Kind]time.Duration{}
	for kind, t := range map[twins.Kind]*twins.Twin{twins.ThreatMatch: from.Twin, twins.OpenCTI: w.platform, twins.RabbitMQ: w.broker} {
		if t == nil {
			continue
		}
		if cpu, told := t.CPU(); told {
			spent[kind] = cpu
		}
	}
	return spent
}

// How often the memory of a run is looked at: one with nothing new takes some hundredths of a second, a million objects a minute.
const (
	lookQuiet  = 5 * time.Millisecond
	lookOften  = 20 * time.Millisecond
	lookSeldom = 200 * time.Millisecond
)

// delivered is how many messages the one work of a run expects, which ended well.
func delivered(a twins.Account) (int, error) {
	if len(a.Works) != 1 || a.Works[0].Closed != 1 || a.Works[0].InError || a.Works[0].Expected == 0 {
		return 0, fmt.Errorf("the run did not deliver everything in one work: %+v", a.Works)
	}
	return a.Works[0].Expected, nil
}

// publishing is the messages a second between the first and the last one that arrived, 0 where they came too close to tell.
func (r run) publishing() float64 {
	if len(r.arrived) == 0 {
		return 0
	}
	first := r.arrived[0]
	// The queue may be looked at again after the last one.
	at := slices.IndexFunc(r.arrived, func(a twins.Arrivals) bool { return a.Messages >= r.messages })
	if at <= 0 {
		return 0
	}
	return float64(r.messages-first.Messages) / r.arrived[at].At.Sub(first.At).Seconds()
}

// whole is the messages a second from the start of the process to its end.
func (r run) whole() float64 { return float64(r.messages) / r.Wall.Seconds() }

// perObject is the CPU for a message in µs.
func (r run) perObject(cpu time.Duration) float64 {
	return float64(cpu) / float64(time.Microsecond) / float64(r.messages)
}
