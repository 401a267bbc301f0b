package connector

import (
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/remotes"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status"
	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
	"github.com/opencti-connectors/threatmatch/state"
	"github.com/opencti-connectors/threatmatch/transform"
	"github.com/opencti-connectors/threatmatch/transform/relations"
)

// newKeeper returns what keeps the state; the connector is registered and its index is open.
func (p *program) newKeeper() *state.Keeper {
	return state.NewKeeper(state.Config{
		Platform: p.status.WatchState(stateStore{p}), Index: p.memory.Index, WaitingLost: p.memory.waitingLost, Enabled: Datasets(p.cfg),
		ImportFrom: func() time.Time { return p.cfg.ThreatMatch.ImportFrom.From(time.Now()) },
		OnPing:     p.status.Pinged, OnBeat: p.status.Beat, Every: status.HeartbeatEvery, OnVoid: p.onVoid, Log: p.log,
	})
}

// newPublisher returns what publishes a run's messages to a queue.
func (p *program) newPublisher(queue opencti.Queue) (*rabbitmq.Publisher, error) {
	conn, err := remotes.Broker(p.cfg, queue)
	if err != nil {
		return nil, err
	}
	return rabbitmq.New(rabbitmq.Config{
		Connection: conn, Exchange: queue.Exchange, RoutingKey: queue.RoutingKey, Dial: p.options.Carriers.Broker, Refresh: p.refreshBroker,
		WindowBytes: sharesOf(p.cfg).underWay, RefusedFor: p.putUpWithRefusals(), Log: p.log, Alarms: p.plain,
	}), nil
}

// putUpWithRefusals is how long the broker may refuse access. Whoever runs the connector once waits for its exit status, and
// a broker that starts refuses for some seconds only; one that stays goes on for ever, as with everything else.
func (p *program) putUpWithRefusals() time.Duration {
	if p.cfg.Connector.RunOnce() {
		return time.Minute
	}
	return 0
}

// newEmitter returns what delivers the run of a number.
func (p *program) newEmitter(publisher emit.Publisher, books *emit.Books, applicant string, run uint32, fitter transform.Fitter) *emit.Emitter {
	platform := p.status.WatchPlatform(p.platform)
	threshold, share := int64(p.cfg.Connector.QueueThreshold*1e6), sharesOf(p.cfg)
	gauge := emit.NewGauge(books, threshold, p.reportQueue, p.log)
	return emit.New(emit.Config{
		Publisher: publisher, Index: p.memory.Index, Books: books, Gauge: gauge,
		Store: p.memory.Waiting(), Durable: p.memory.durable, Platform: platform, Mapping: emit.Mapping{
			WithoutRefs: p.transformer.WithoutRefs, Yield: p.transformer.Yield, Addition: transform.Addition, AdditionID: transform.AdditionID,
			StandardMarking: transform.StandardMarking,
		},
		KindOf: relations.KindNamed, Fit: fitter.Fit, VerifyAfter: p.cfg.Connector.VerifyAfter.Longest(),
		ApplicantID: applicant, Run: run, Doubted: p.keeper.Doubted(), Importing: p.keeper.Importing(), Refusal: &p.refusal, MaxMessageBytes: p.cfg.Connector.MaxMessageBytes,
		BatchBytes: batchBytes(threshold, share.underWay), ParkedBytes: int(share.parked), NoteLarge: p.follower.NoteLarge(run), Sent: p.progress.Sent, Log: p.log,
	})
}

// reportQueue shows OpenCTI how full the queue is and whether the connector waits for it.
func (p *program) reportQueue(buffering bool, bytes int64) {
	changed := false
	p.status.Tell(func(i *opencti.Info) {
		changed = i.Buffering != buffering
		i.Buffering, i.QueueMessagesSize = buffering, float64(bytes)/1e6
	})
	if changed {
		p.keeper.Ping()
	}
}

// batchBytes keeps a batch small beside a small threshold, for the queue is looked at between batches, and beside what may be
// under way, so that the next one fills while the broker confirms the last.
func batchBytes(threshold, underWay int64) int {
	usual := min(8<<20, underWay/4)
	if threshold <= 0 {
		return int(usual)
	}
	return int(max(1, min(usual, threshold/20)))
}
