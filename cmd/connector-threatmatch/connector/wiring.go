package connector

import (
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status"
	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
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

// putUpWithRefusals is how long the broker may refuse access. Whoever runs the connector once waits for its exit status, and
// a broker that starts refuses for some seconds only; one that stays goes on for ever, as with everything else.
func (p *program) putUpWithRefusals() time.Duration {
	if p.cfg.Connector.RunOnce() {
		return time.Minute
	}
	return 0
}

// newEmitter returns what delivers the run of a number.
func (p *program) newEmitter(why purpose, out outlet, kept *deposits, books *emit.Books, applicant string, run uint32, fitter transform.Fitter) *emit.Emitter {
	threshold, share := int64(p.cfg.Connector.QueueThreshold*1e6), sharesOf(p.cfg)
	cfg := emit.Config{
		Deposits: kept.list, Index: p.memory.Index, Books: books,
		Store: p.memory.Waiting(), Durable: p.memory.durable, Mapping: emit.Mapping{
			WithoutRefs: p.transformer.WithoutRefs, Yield: p.transformer.Yield, Addition: transform.Addition, AdditionID: transform.AdditionID,
			Split: transform.Split, StandardMarking: transform.StandardMarking,
		},
		KindOf: relations.KindNamed, Fit: fitter.Fit,
		ApplicantID: applicant, Run: run, Doubted: p.keeper.Doubted(), Importing: p.keeper.Importing(), Refusal: &p.refusal, MaxMessageBytes: p.cfg.Connector.MaxMessageBytes,
		BatchBytes: batchBytes(threshold, share.underWay), ParkedBytes: int(share.parked), NoteLarge: p.follower.NoteLarge(run), Sent: p.progress.Sent, Log: p.log,
	}
	if p.cfg.Connector.Queues() {
		cfg.Outlet, cfg.Gauge = out, emit.NewGauge(books, threshold, p.reportQueue, p.log)
	} else {
		cfg.Gauge = emit.NewGauge(nil, 0, nil, p.log)
	}
	cfg.Anew = p.cfg.Connector.Uploads() || p.cfg.Connector.Drafts() // nobody may have approved of what an earlier run brought
	cfg.EvenUnchanged = why == backfills                             // somebody has asked for what he may have had
	if p.cfg.Connector.Queues() && !p.cfg.Connector.Drafts() {       // else what OpenCTI knows says nothing of what was delivered
		cfg.Platform, cfg.VerifyAfter = p.status.WatchPlatform(p.platform), p.cfg.Connector.VerifyAfter.Longest()
	}
	return emit.New(cfg)
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
