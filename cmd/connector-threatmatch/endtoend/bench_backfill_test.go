package endtoend

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// backfillShape is ten years of a large customer.
var backfillShape = threatmatchtest.Shape{Seed: 1, Profiles: 20_000, Indicators: 1_000_000}

// sample is how far a run has come at a moment, and the memory that it takes.
type sample struct {
	at       time.Duration
	messages int
	resident int64 // bytes
}

// BenchmarkBackfill imports a million indicators and twenty thousand profiles with the program as a process of its own,
// and then the same again with the index kept. It says whether memory grows and speed falls on the way, what the index takes
// on disk, and what the second run sends.
func BenchmarkBackfill(b *testing.B) {
	for range b.N {
		broker, err := rabbitmqtest.Start(rabbitmqtest.Config{Discard: true})
		if err != nil {
			b.Fatal(err)
		}
		backfill(b, broker)
		if err := broker.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func backfill(b *testing.B, broker *rabbitmqtest.Broker) {
	platform, environ, shut := benchWorld(b, broker, threatmatchtest.Config{Data: threatmatchtest.Generate(backfillShape), NoGzip: true, KeepCalls: 1})
	defer shut()
	binary := filepath.Join(b.TempDir(), "connector-threatmatch")
	if out, err := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "..").CombinedOutput(); err != nil {
		b.Fatalf("build the program: %v\n%s", err, out)
	}
	dir := b.TempDir()
	environ = append(environ, "CONNECTOR_STATE_DIR="+dir, "CONNECTOR_QUEUE_THRESHOLD=1000000") // nothing consumes here

	samples := watchProgram(b, binary, environ, broker)
	last := samples[len(samples)-1]
	b.ReportMetric(float64(last.messages), "objects")
	b.ReportMetric(float64(last.messages)/last.at.Seconds(), "objects/s")
	b.ReportMetric(100*rateOfTenth(samples, 9)/rateOfTenth(samples, 1), "%last-of-second-tenth")
	early, late := residentPeaks(samples)
	b.ReportMetric(float64(early)/(1<<20), "MiB-first-tenth")
	b.ReportMetric(float64(late)/(1<<20), "MiB-after")
	b.ReportMetric(float64(sizeOf(b, dir))/float64(last.messages), "disk-B/object")

	platform.SetState(stateSince(b, platform.State(), time.Unix(0, 0)))
	works := len(platform.Works())
	again := watchProgram(b, binary, environ, broker)
	b.ReportMetric(float64(broker.Published()-last.messages), "second-run-objects")
	b.ReportMetric(again[len(again)-1].at.Seconds(), "second-run-s")
	if broker.Published() != last.messages || len(platform.Works()) != works {
		b.Errorf("the second run sent %d objects and opened %d works", broker.Published()-last.messages, len(platform.Works())-works)
	}
}

// watchProgram runs the program to its end and looks at it twice a second.
func watchProgram(b *testing.B, binary string, environ []string, broker *rabbitmqtest.Broker) []sample {
	cmd := exec.Command(binary)
	cmd.Dir, cmd.Stderr, cmd.Env = b.TempDir(), os.Stderr, environ
	before, started := broker.Published(), time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	look := time.NewTicker(500 * time.Millisecond)
	defer look.Stop()
	var samples []sample
	for {
		select {
		case err := <-ended:
			if err != nil {
				b.Fatalf("the connector: %v", err)
			}
			return append(samples, sample{time.Since(started), broker.Published() - before, 0})
		case <-look.C:
			samples = append(samples, sample{time.Since(started), broker.Published() - before, memoryOf(cmd.Process.Pid, "VmRSS:")})
		}
	}
}

// rateOfTenth is the messages a second in one tenth of the messages, counted from 0.
func rateOfTenth(samples []sample, tenth int) float64 {
	total := samples[len(samples)-1].messages
	reached := func(n int) sample {
		for _, s := range samples {
			if s.messages >= n {
				return s
			}
		}
		return samples[len(samples)-1]
	}
	from, to := reached(total*tenth/10), reached(total*(tenth+1)/10)
	return float64(to.messages-from.messages) / (to.at - from.at).Seconds()
}

// residentPeaks are the largest memory in the first tenth of the messages and after it.
func residentPeaks(samples []sample) (early, late int64) {
	total := samples[len(samples)-1].messages
	for _, s := range samples {
		if s.messages < total/10 {
			early = max(early, s.resident)
		} else {
			late = max(late, s.resident)
		}
	}
	return early, late
}

func sizeOf(b *testing.B, dir string) (bytes int64) {
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			bytes += info.Size()
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return bytes
}
