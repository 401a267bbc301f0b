package endtoend

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// A run under way says every half minute how far it is, how long it will take, and what it waits for.
func TestARunTellsWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		hinder func(*bubble)
		says   string
	}{
		"nothing but its rate": {func(*bubble) {}, "THREATMATCH_RATE_LIMIT"},
		"a slow API": {func(b *bubble) {
			b.api.Fault(threatmatchtest.Rule{Path: "/api/*", From: 1, To: -1, Do: threatmatchtest.Slow(10 * time.Second)})
		}, "ThreatMatch's answers"},
		"an API that hangs": {func(b *bubble) {
			b.api.Fault(threatmatchtest.Rule{Path: "/api/stix/*", From: 100, To: -1, Do: threatmatchtest.Slow(time.Hour)})
		}, "ThreatMatch, which does not answer"},
		"a broker without memory": {func(b *bubble) { b.broker.Block("memory") }, "RabbitMQ, which is short of memory or disk"},
		"a full queue":            {func(b *bubble) { b.platform.SetQueue(1, 1<<40) }, "OpenCTI's workers: the queue is at CONNECTOR_QUEUE_THRESHOLD"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, dir := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 5, Profiles: 2000, Alerts: 2, Indicators: 20}), t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				core, logs := observer.New(zap.InfoLevel)
				b := newBubble(t, dir, threatmatchtest.Config{Data: data}, rabbitmqtest.Config{}, openctitest.Config{}, "THREATMATCH_RATE_LIMIT=4", "THREATMATCH_CONCURRENCY=2")
				b.log = zap.New(core)
				tt.hinder(b)
				ctx, cancel := context.WithCancelCause(t.Context())
				ended := b.begin(ctx)
				time.Sleep(5*time.Minute + time.Second)
				cancel(errors.New("told to stop"))
				<-ended
				told := logs.FilterMessageSnippet("importing: ").All()
				if len(told) < 9 || len(told) > 10 {
					t.Fatalf("%d lines in five minutes: %v", len(told), told)
				}
				last := told[len(told)-1].Message
				if !strings.HasSuffix(last, "waits for "+tt.says) {
					t.Errorf("it says %q, want %q", last, tt.says)
				}
				if name == "nothing but its rate" && (!strings.Contains(last, " of 2,000, ") || !strings.Contains(last, "about 3m")) {
					t.Errorf("it says %q", last)
				}
			})
		})
	}
}

func TestABrokerThatTakesNothingForHoursIsToldOf(t *testing.T) {
	t.Parallel()
	data, dir := someData(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, dir, threatmatchtest.Config{Data: data, Latency: 20 * time.Millisecond}, rabbitmqtest.Config{}, openctitest.Config{})
		core, lines := observer.New(zapcore.WarnLevel)
		b.log = zap.New(core)
		b.broker.Block("memory")
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := b.begin(ctx)
		time.Sleep(6 * time.Hour)
		n := 0
		for _, l := range lines.All() {
			if l.Level == zapcore.ErrorLevel {
				n++
			}
		}
		if n == 0 && b.running(ended) {
			t.Error("six hours, and not a line at error, which is the default level")
		}
		cancel(nil)
		<-ended
	})
}
