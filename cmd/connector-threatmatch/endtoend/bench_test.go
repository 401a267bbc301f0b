package endtoend

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/sandbox"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// benchShape is a first import of a middling customer.
var benchShape = threatmatchtest.Shape{Seed: 1, Profiles: 500, Alerts: 500, Indicators: 20_000}

// benchBroker is a broker to measure with.
type benchBroker struct {
	name string
	openctitest.Broker
}

// benchmark holds what the measurements share.
type benchmark struct {
	binary   string
	data     threatmatchtest.Data
	messages [][]byte // what an import publishes
	file     string   // the same on disk, for the publisher's process
	ceiling  map[string]float64
}

// BenchmarkImport measures the whole connector as a process of its own; ThreatMatch, OpenCTI and the simulated broker run in
// this one. BenchmarkImport/…/ceiling is a bare publisher of the very same messages, a thousand unconfirmed at a time,
// also a process of its own; %ceiling is the connector's speed in parts of that.
func BenchmarkImport(b *testing.B) {
	m := newBenchmark(b)
	simulated, err := rabbitmqtest.Start(rabbitmqtest.Config{Discard: true})
	if err != nil {
		b.Fatal(err)
	}
	defer simulated.Close()
	m.measure(b, benchBroker{"simulated", simulated})

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	node, err := rabbitmqtest.StartNode(ctx, filepath.Join(b.TempDir(), "node"))
	if errors.Is(err, rabbitmqtest.ErrNotInstalled) {
		b.Log("RabbitMQ is not installed: measured with the simulated broker only")
		return
	}
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := node.Close(); err != nil {
			b.Error(err)
		}
	}()
	m.measure(b, benchBroker{"RabbitMQ", node})
}

func newBenchmark(b *testing.B) *benchmark {
	m := &benchmark{binary: filepath.Join(b.TempDir(), "connector-threatmatch"), file: filepath.Join(b.TempDir(), "messages"),
		data: threatmatchtest.Generate(benchShape), ceiling: map[string]float64{}}
	if out, err := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", m.binary, "..").CombinedOutput(); err != nil {
		b.Fatalf("build the program: %v\n%s", err, out)
	}
	var mu sync.Mutex
	recorder, err := rabbitmqtest.Start(rabbitmqtest.Config{Discard: true, OnMessage: func(msg rabbitmqtest.Message) {
		mu.Lock()
		defer mu.Unlock()
		m.messages = append(m.messages, append([]byte(nil), msg.Body...))
	}})
	if err != nil {
		b.Fatal(err)
	}
	defer recorder.Close()
	m.run(b, benchBroker{"recorder", recorder}, threatmatchtest.Config{Data: m.data})
	if err := writeMessages(m.file, m.messages); err != nil {
		b.Fatal(err)
	}
	return m
}

// measure compares the connector with the bare publisher at one broker.
func (m *benchmark) measure(b *testing.B, broker benchBroker) {
	b.Run(broker.name+"/ceiling", func(b *testing.B) {
		var total footprint
		for range b.N {
			total.add(publishBare(b, broker.URL(), m.file))
		}
		m.ceiling[broker.name] = m.report(b, total)
	})
	for _, answers := range []struct {
		name   string
		noGzip bool
	}{{"gzip", false}, {"plain", true}} {
		b.Run(broker.name+"/"+answers.name, func(b *testing.B) {
			var total footprint
			for range b.N {
				total.add(m.run(b, broker, threatmatchtest.Config{Data: m.data, NoGzip: answers.noGzip}))
			}
			rate := m.report(b, total)
			if ceiling := m.ceiling[broker.name]; ceiling > 0 {
				b.ReportMetric(100*rate/ceiling, "%ceiling")
			}
		})
	}
}

// footprint is what processes took.
type footprint struct {
	wall, cpu time.Duration
	peak      int64 // bytes of the largest, 0 where the system does not tell
}

func (f *footprint) add(g footprint) {
	f.wall += g.wall
	f.cpu += g.cpu
	f.peak = max(f.peak, g.peak)
}

// report says what b.N deliveries of all messages took, and returns the messages a second.
func (m *benchmark) report(b *testing.B, f footprint) (rate float64) {
	objects := float64(b.N * len(m.messages))
	rate = objects / f.wall.Seconds()
	b.ReportMetric(rate, "objects/s")
	b.ReportMetric(float64(f.cpu.Microseconds())/objects, "CPU-µs/object")
	if f.peak > 0 {
		b.ReportMetric(float64(f.peak)/(1<<20), "peak-MiB")
	}
	b.ReportMetric(objects/float64(b.N), "objects")
	return rate
}

// run imports everything with a fresh platform and an empty state, from the start of the process to its end.
func (m *benchmark) run(b *testing.B, broker benchBroker, api threatmatchtest.Config) footprint {
	b.StopTimer()
	defer b.StartTimer()
	platform, environ, shut := benchWorld(b, broker, api)
	defer shut()
	cmd := exec.Command(m.binary)
	cmd.Dir, cmd.Stderr, cmd.Env = b.TempDir(), os.Stderr, environ
	b.StartTimer()
	f, err := footprintOf(cmd)
	b.StopTimer()
	if err != nil {
		b.Fatalf("the connector: %v", err)
	}
	works := platform.Works()
	if len(works) != 1 || works[0].InError || works[0].Expected == 0 || (len(m.messages) > 0 && works[0].Expected != len(m.messages) && broker.name != "recorder") {
		b.Fatalf("the run did not deliver %d messages: %+v", len(m.messages), works)
	}
	if err := platform.DeleteConnector(); err != nil { // and with it the queue
		b.Fatal(err)
	}
	return f
}

// benchWorld is a ThreatMatch and a platform without anything, and the environment in which the program finds them.
func benchWorld(b *testing.B, broker openctitest.Broker, api threatmatchtest.Config) (platform *openctitest.Platform, environ []string, shut func()) {
	platform, err := openctitest.New(openctitest.Config{Token: configtest.Token, Broker: broker})
	if err != nil {
		b.Fatal(err)
	}
	platform.Hold(sandbox.BuiltInMarkings()...)
	platformSite, apiSite := newSite(b, platform, true), newSite(b, threatmatchtest.New(api), true)
	return platform, []string{
		"OPENCTI_URL=" + platformSite.url(), "OPENCTI_TOKEN=" + configtest.Token, "OPENCTI_JSON_LOGGING=false",
		"THREATMATCH_URL=" + apiSite.url(), "THREATMATCH_CLIENT_ID=" + threatmatchtest.DefaultClientID,
		"THREATMATCH_CLIENT_SECRET=" + threatmatchtest.DefaultClientSecret, "THREATMATCH_IMPORT_FROM_DATE=1970-01-01", "THREATMATCH_RATE_LIMIT=0",
		"CONNECTOR_ID=" + uuid.NewString(), "CONNECTOR_STATE_DIR=" + b.TempDir(), "CONNECTOR_RUN_AND_TERMINATE=true", "CONNECTOR_STATUS_ADDRESS=off",
	}, func() { platformSite.shut(); apiSite.shut() }
}

// footprintOf runs a program to its end.
func footprintOf(cmd *exec.Cmd) (footprint, error) {
	started := time.Now()
	if err := cmd.Start(); err != nil {
		return footprint{}, fmt.Errorf("start: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	f, look := footprint{}, time.NewTicker(20*time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			// The exit's own figure would begin with the memory of this process, which the child was forked from.
			f.peak = max(f.peak, peakMemoryOf(cmd.Process.Pid))
		case err := <-ended:
			f.wall, f.cpu = time.Since(started), cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()
			return f, err
		}
	}
}

// peakMemoryOf is the largest resident size of a process so far in bytes, 0 when it cannot be told.
func peakMemoryOf(pid int) int64 { return memoryOf(pid, "VmHWM:") }

// memoryOf is what Linux says of a process's memory under a name, in bytes.
func memoryOf(pid int, name string) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), name)
	var kib int64
	if _, err := fmt.Sscanf(rest, "%d kB", &kib); err != nil {
		return 0 // a process that has just ended has no memory
	}
	return kib << 10
}
