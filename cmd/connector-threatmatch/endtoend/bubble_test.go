package endtoend

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/connector"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// bubble is the whole connector with its three remotes in fake time, for what it does within a time: that passes only
// while all of them wait.
type bubble struct {
	t        *testing.T
	api      *threatmatchtest.Server
	pipe     *threatmatchtest.Pipe
	platform *openctitest.Platform
	broker   *rabbitmqtest.Broker
	cfg      config.Config
	log      *zap.Logger
}

// newBubble lays out a bubble, whose index lies in dir; settings are added to the configuration.
func newBubble(t *testing.T, dir string, api threatmatchtest.Config, broker rabbitmqtest.Config, platform openctitest.Config, settings ...string) *bubble {
	b := &bubble{t: t, api: threatmatchtest.New(api), pipe: threatmatchtest.NewPipe(), log: zap.NewNop()}
	server := &http.Server{Handler: b.api}
	go func() { _ = server.Serve(b.pipe) }()
	t.Cleanup(func() { _ = server.Close() })
	var err error
	broker.InMemory = true
	b.broker, err = rabbitmqtest.Start(broker)
	must(t, err)
	t.Cleanup(func() { must(t, b.broker.Close()) })
	platform.Token, platform.Broker = "token", b.broker
	b.platform, err = openctitest.New(platform)
	must(t, err)
	return b.another(bubbleID, dir, settings...)
}

// another is a further connector in the same bubble, with an id and a folder of its own.
func (b *bubble) another(id, dir string, settings ...string) *bubble {
	c := *b
	var err error
	c.cfg, _, err = config.Load("", false, append([]string{
		"OPENCTI_URL=http://opencti.test", "OPENCTI_TOKEN=token", "CONNECTOR_ID=" + id,
		"THREATMATCH_URL=http://threatmatch.test", "THREATMATCH_CLIENT_ID=" + threatmatchtest.DefaultClientID,
		"THREATMATCH_CLIENT_SECRET=" + threatmatchtest.DefaultClientSecret, "THREATMATCH_RATE_LIMIT=0",
		"THREATMATCH_IMPORT_FROM_DATE=1990-01-01", "CONNECTOR_RUN_AND_TERMINATE=true", "CONNECTOR_STATE_DIR=" + dir, "CONNECTOR_STATUS_ADDRESS=off",
	}, settings...))
	must(b.t, err)
	return &c
}

const (
	bubbleID    = "2c3a3f0e-6a0e-4d9c-8b3e-0f6d4f2f1a11"
	bubbleQueue = "push_" + bubbleID
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run runs the connector once.
func (b *bubble) run(ctx context.Context) error {
	return connector.Run(ctx, b.cfg, b.log, b.options())
}

// options let a connector reach the bubble's remotes, and nothing outside.
func (b *bubble) options() connector.Options {
	transport := &http.Transport{DialContext: b.pipe.DialContext}
	b.t.Cleanup(transport.CloseIdleConnections)
	// A socket of the system's would keep fake time from passing.
	return connector.Options{TakesNoOrders: true, Carriers: connector.Carriers{
		API: transport, Platform: b.platform.Transport(),
		Broker: func(_ context.Context, network, address string) (net.Conn, error) {
			conn, err := b.broker.Dial(network, address)
			if err != nil {
				return nil, err
			}
			return newRoomyConn(conn), nil
		},
	}}
}

// begin runs the connector meanwhile; its end comes over the channel.
func (b *bubble) begin(ctx context.Context) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- b.run(ctx) }()
	return ended
}

// running reports whether a run that was begun has not ended.
func (b *bubble) running(ended <-chan error) bool {
	synctest.Wait()
	return len(ended) == 0
}

// take takes all that is in the queue.
func (b *bubble) take(n int) []delivery {
	b.t.Helper()
	var messages []delivery
	for _, m := range b.broker.Take(bubbleQueue, n) {
		d, err := readDelivery(m.Body)
		must(b.t, err)
		messages = append(messages, d)
	}
	return messages
}

// mostToStop is how long the connector may take to end after it was told to: containers are killed after ten seconds.
const mostToStop = 10 * time.Second

func TestToldToStopARunEndsInTimeWhateverHangs(t *testing.T) {
	t.Parallel()
	slow := func(b *bubble, operation string) {
		b.platform.Fault(openctitest.Rule{Operation: operation, From: 1, To: -1, Do: openctitest.Slow(time.Hour)})
	}
	for name, stall := range map[string]func(*bubble){
		"the API": func(b *bubble) {
			b.api.Fault(threatmatchtest.Rule{Path: "/api/stix/*", From: 20, Do: threatmatchtest.Slow(time.Hour)})
		},
		"the platform":               func(b *bubble) { slow(b, "addExpectations") },
		"pings":                      func(b *bubble) { slow(b, "pingConnector") },
		"everything of the platform": func(b *bubble) { slow(b, "workEdit"); slow(b, "pingConnector") },
		"the broker":                 func(b *bubble) { b.broker.Block("memory") },
		"the size of the queue":      func(b *bubble) { b.platform.SetQueue(1, 1<<40) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, dir := someData(), t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t, dir, threatmatchtest.Config{Data: data, Latency: 20 * time.Millisecond}, rabbitmqtest.Config{}, openctitest.Config{})
				stall(b)
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				ended := b.begin(ctx)
				time.Sleep(10 * time.Second)
				if !b.running(ended) {
					t.Fatalf("nothing hangs: %v", <-ended)
				}
				told := time.Now()
				cancel(errors.New("told to stop"))
				if err := <-ended; err == nil {
					t.Error("it was told to stop and says that all is well")
				}
				if took := time.Since(told); took > mostToStop {
					t.Errorf("the end took %s", took)
				}
				b.platform.ClearFaults()
				b.platform.ClearQueue()
				b.broker.Unblock()
				b.api.ClearFaults()
				if err := b.run(t.Context()); err != nil {
					t.Errorf("the next run: %v", err)
				}
				messages := b.take(1 << 30)
				checkOrder(t, messages)
				checkHeld(t, messages, held(t, data, defaultMapping))
			})
		})
	}
}

// plainIndicators are indicators that refer to nothing: each is sent at once, in a message of its own.
func plainIndicators(t *testing.T, n int) *threatmatchtest.Folder {
	t.Helper()
	var data threatmatchtest.Folder
	for i := range n {
		at := time.Date(1999, 1, 1, 0, 0, i, 0, time.UTC).Format(time.RFC3339)
		must(t, data.PutIndicator(fmt.Appendf(nil, `{"type":"indicator","spec_version":"2.1","id":"indicator--00000000-0000-4000-8000-%012d",`+
			`"created":%q,"modified":%q,"valid_from":%q,"name":"%d","pattern":"[file:size = %d]","pattern_type":"stix"}`, i, at, at, at, i, i)))
	}
	return &data
}

func TestABlockedBrokerHoldsTheRunBackAndLosesNothing(t *testing.T) {
	t.Parallel()
	const (
		passed    = 100 // messages that the broker takes before it blocks
		pageSize  = 10
		openPages = 32  // of a dataset: what is fetched and not delivered takes memory
		inSlices  = 160 // that lie ready or are under way: eight slices of twenty pages
	)
	data, dir := plainIndicators(t, 3000), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var b *bubble
		var taken atomic.Int64
		b = newBubble(t, dir, threatmatchtest.Config{Data: data, PageSize: pageSize}, rabbitmqtest.Config{OnMessage: func(rabbitmqtest.Message) {
			if taken.Add(1) == passed {
				b.broker.Block("memory")
			}
		}}, openctitest.Config{})
		ended := b.begin(t.Context())
		time.Sleep(time.Hour)
		if !b.running(ended) {
			t.Fatalf("the run has ended: %v", <-ended)
		}
		if n := b.broker.Published(); n != passed {
			t.Errorf("%d messages were published to a broker that took %d", n, passed)
		}
		if n, most := b.api.Count(indicatorsPath), passed/pageSize+openPages+inSlices+1; n > most {
			t.Errorf("%d pages of indicators were asked for, want at most %d", n, most)
		}
		if text := b.platform.State(); !parseState(t, text).LastRun.IsZero() {
			t.Errorf("the state is %s", text)
		}
		b.broker.Unblock()
		if err := <-ended; err != nil {
			t.Errorf("the run ended with %v", err)
		}
		messages := b.take(1 << 30)
		checkOrder(t, messages)
		checkOnce(t, messages)
		checkHeld(t, messages, held(t, data, defaultMapping))
		works := b.platform.Works()
		if len(works) != 1 || works[0].Expected != len(messages) || works[0].Closed != 1 || works[0].InError {
			t.Errorf("%d messages, the works are %+v", len(messages), works)
		}
		if text := b.platform.State(); parseState(t, text).LastRun.IsZero() {
			t.Errorf("the state is %s", text)
		}
	})
}

func TestTheQueueNeverGrowsFarBeyondTheThreshold(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"amqp", "api"} {
		t.Run(protocol, func(t *testing.T) { t.Parallel(); neverGrowsFarBeyondTheThreshold(t, protocol) })
	}
}

func neverGrowsFarBeyondTheThreshold(t *testing.T, protocol string) {
	const threshold = 400_000
	data := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 9, Profiles: 8, Alerts: 8, Indicators: 800})
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var b *bubble
		var most atomic.Int64
		b = newBubble(t, dir, threatmatchtest.Config{Data: data}, rabbitmqtest.Config{OnMessage: func(rabbitmqtest.Message) {
			_, bytes := b.broker.Depth(bubbleQueue)
			most.Store(max(most.Load(), bytes))
		}}, openctitest.Config{}, "CONNECTOR_QUEUE_THRESHOLD=0.4", "CONNECTOR_QUEUE_PROTOCOL="+protocol)
		b.platform.SetQueue(0, 0)
		ended := b.begin(t.Context())
		// OpenCTI's workers, and its figure, which is some seconds old.
		var all []delivery
		for tick := 1; b.running(ended); tick++ {
			time.Sleep(50 * time.Millisecond)
			all = append(all, b.take(5)...)
			if tick%80 == 0 {
				n, bytes := b.broker.Depth(bubbleQueue)
				b.platform.SetQueue(n, bytes)
			}
		}
		if err := <-ended; err != nil {
			t.Errorf("the run ended with %v", err)
		}
		if most.Load() > threshold*12/10 {
			t.Errorf("the queue held %d bytes, the threshold is %d", most.Load(), threshold)
		}
		if most.Load() < threshold/2 {
			t.Errorf("the queue held %d bytes at most: the threshold was not met", most.Load())
		}
		all = append(all, b.take(1<<30)...)
		checkOrder(t, all)
		checkOnce(t, all)
		checkHeld(t, all, held(t, data, defaultMapping))
		buffering, pings := 0, b.platform.Pings()
		for _, ping := range pings {
			if ping.Info.Buffering {
				buffering++
			}
			if ping.Info.QueueThreshold != 0.4 {
				t.Errorf("a ping says that the threshold is %v", ping.Info.QueueThreshold)
			}
		}
		if buffering == 0 || pings[len(pings)-1].Info.Buffering {
			t.Errorf("%d of %d pings say buffering, the last one: %t", buffering, len(pings), pings[len(pings)-1].Info.Buffering)
		}
		works := b.platform.Works()
		if len(works) != 1 || works[0].Expected != len(all) || works[0].Closed != 1 || works[0].InError {
			t.Errorf("%d messages, the works are %+v", len(all), works)
		}
	})
}
