package connector

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status"
	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
	"github.com/opencti-connectors/threatmatch/state"
	"github.com/opencti-connectors/threatmatch/transform"
)

// newKeeper returns what keeps the state; the connector is registered and its index is open.
func (c *connector) newKeeper() *state.Keeper {
	return state.NewKeeper(state.Config{
		Platform: c.platform, Index: c.memory.Index, WaitingLost: c.memory.waitingLost, Enabled: Datasets(c.cfg),
		ImportFrom: func() time.Time { return c.cfg.ThreatMatch.ImportFrom.From(time.Now()) },
		Info:       c.status.Pinging, OnPing: c.status.Pinged, Every: status.HeartbeatEvery,
		OnReset: c.onReset, OnGone: c.register, Log: c.log,
	})
}

// newPublisher returns what publishes a run's messages to a queue.
func (c *connector) newPublisher(queue opencti.Queue) (*rabbitmq.Publisher, error) {
	conn, err := brokerConnection(c.cfg, queue)
	if err != nil {
		return nil, err
	}
	return rabbitmq.New(rabbitmq.Config{
		Connection: conn, Exchange: queue.Exchange, RoutingKey: queue.RoutingKey, Dial: c.options.Carriers.Broker, Refresh: c.refreshBroker, Log: c.log,
	}), nil
}

// newBooks returns the books of the work under which a run that starts now is listed by the platform.
func (c *connector) newBooks(started time.Time) *emit.Books {
	name := fmt.Sprintf("%s run @ %s", c.cfg.Connector.Name, started.UTC().Format("2006-01-02T15:04:05-07:00"))
	return emit.NewBooks(c.status.WatchPlatform(c.platform), workFaults{}, name, c.log)
}

// newEmitter returns what delivers a run.
func (c *connector) newEmitter(publisher emit.Publisher, books *emit.Books, applicant string) *emit.Emitter {
	platform := c.status.WatchPlatform(c.platform)
	threshold := int64(c.cfg.Connector.QueueThreshold * 1e6)
	gauge := emit.NewGauge(platform, threshold, c.reportQueue, c.log)
	return emit.New(emit.Config{
		Publisher: publisher, Index: c.memory.Index, Books: books, Gauge: gauge,
		Waiting: c.memory.Waiting(), Durable: c.memory.durable, Platform: platform, WithoutRefs: transform.WithoutRefs,
		ApplicantID: applicant, Run: rand.Uint32(), MaxMessageBytes: c.cfg.Connector.MaxMessageBytes,
		BatchBytes: batchBytes(threshold), Sent: c.progress.Sent, Log: c.log,
	})
}

// reportQueue shows OpenCTI how full the queue is and whether the connector waits for it.
func (c *connector) reportQueue(buffering bool, bytes int64) {
	changed := false
	c.status.Tell(func(i *opencti.Info) {
		changed = i.Buffering != buffering
		i.Buffering, i.QueueMessagesSize = buffering, float64(bytes)/1e6
	})
	if changed {
		c.keeper.Ping()
	}
}

// batchBytes keeps a batch small beside a small threshold, for the queue is looked at between batches.
func batchBytes(threshold int64) int {
	const usual = 8 << 20
	if threshold <= 0 {
		return usual
	}
	return int(max(1, min(usual, threshold/20)))
}

// workFaults sorts the platform client's errors for the books.
type workFaults struct{}

func (workFaults) Gone(err error) bool      { return errors.Is(err, opencti.ErrWorkNotAlive) }
func (workFaults) Unsent(err error) bool    { return opencti.IsUnsent(err) }
func (workFaults) Temporary(err error) bool { return opencti.IsTemporary(err) }
