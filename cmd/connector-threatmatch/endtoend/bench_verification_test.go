package endtoend

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/connector"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/sandbox"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// BenchmarkVerification lists a hundred thousand objects again that the index knows, with the program as a process of its
// own: once believing the index, once with all of them due to be asked for. %of-believing is what that costs.
func BenchmarkVerification(b *testing.B) {
	const rounds = 3 // of each, in turn, for the machine is shared
	binary := filepath.Join(b.TempDir(), "connector-threatmatch")
	if out, err := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "..").CombinedOutput(); err != nil {
		b.Fatalf("build the program: %v\n%s", err, out)
	}
	for range b.N {
		var platform *openctitest.Platform
		ids := map[string]bool{}
		broker, err := rabbitmqtest.Start(rabbitmqtest.Config{Discard: true, OnMessage: func(m rabbitmqtest.Message) {
			platform.Import(m.Body)
			if d, err := readDelivery(m.Body); err == nil {
				ids[d.ID] = true
			}
		}})
		if err != nil {
			b.Fatal(err)
		}
		data := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 1, Indicators: 100_000})
		var environ []string
		var shut func()
		platform, environ, shut = benchWorld(b, broker, threatmatchtest.Config{Data: data, NoGzip: true, KeepCalls: 1})
		dir := b.TempDir()
		environ = append(environ, "CONNECTOR_STATE_DIR="+dir, "CONNECTOR_QUEUE_THRESHOLD=1000000")
		first := time.Now()
		run(b, binary, environ)
		b.ReportMetric(float64(len(ids)), "objects")
		b.ReportMetric(time.Since(first).Seconds(), "first-run-s")
		var believing, asking time.Duration
		for range rounds {
			for _, after := range []string{"0", "P7D"} {
				age(b, dir, environ, ids, 8)
				platform.SetState(stateSince(b, platform.State(), time.Unix(0, 0)))
				sent, asked, began := broker.Published(), platform.Calls("stixObjectOrStixRelationships"), time.Now()
				run(b, binary, append(environ, "CONNECTOR_VERIFY_AFTER="+after))
				took := time.Since(began)
				if after == "0" {
					believing += took
				} else {
					asking += took
					b.ReportMetric(float64(platform.Calls("stixObjectOrStixRelationships")-asked), "questions")
				}
				if n := broker.Published() - sent; n != 0 {
					b.Errorf("%d messages were sent again", n)
				}
			}
		}
		b.ReportMetric(believing.Seconds()/rounds, "believing-s")
		b.ReportMetric(asking.Seconds()/rounds, "asking-s")
		b.ReportMetric(100*float64(asking)/float64(believing), "%of-believing")
		shut()
		if err := broker.Close(); err != nil {
			b.Fatal(err)
		}
	}
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

// run runs the program to its end.
func run(b *testing.B, binary string, environ []string) {
	b.Helper()
	cmd := exec.Command(binary)
	cmd.Dir, cmd.Stderr, cmd.Env = b.TempDir(), os.Stderr, environ
	if err := cmd.Run(); err != nil {
		b.Fatalf("the connector: %v", err)
	}
}

// age makes what the index knows some days old.
func age(b *testing.B, dir string, environ []string, ids map[string]bool, days int) {
	b.Helper()
	cfg, _, err := config.Load("", false, environ)
	if err != nil {
		b.Fatal(err)
	}
	x, opening, err := index.Open(context.Background(), dir, connector.Identity(cfg), index.Options{})
	if err != nil || opening.Fresh {
		b.Fatalf("open the index: %+v, %v", opening, err)
	}
	old := index.DayOf(time.Now().AddDate(0, 0, -days))
	for id := range ids {
		key := index.KeyOf(id)
		if rec, found := x.Lookup(key); found {
			rec.Day = old
			x.Put(key, rec)
		}
	}
	if err := x.Close(); err != nil {
		b.Fatal(err)
	}
}
