package followup

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/state"
)

// This file is about works that do not complete, or too early.

const (
	// givenUp is the age at which nobody asks for a work any more: a message that a worker cannot read is never counted, so
	// its work is never complete.
	givenUp = 7 * 24 * time.Hour
	// standsStill is how long nothing of a work is processed, with nothing in the queue, until there is nothing left of it. Some
	// platforms say, too, that the queue is empty when they cannot ask the broker for it.
	standsStill = 10 * time.Minute
	// interrupted is what OpenCTI shows of a work that its run did not close.
	interrupted = "the connector was interrupted; what it had not delivered follows with its next run"
)

func isOld(w state.Work) bool { return time.Since(w.Opened) >= givenUp }

// close closes a work that its run has left open.
func (f *Follower) close(ctx context.Context, w state.Work, report opencti.WorkReport) error {
	if !report.Processed {
		f.cfg.Log.Info("closing a work that an interrupted run left open", zap.String("work", w.ID), zap.Time("opened", w.Opened))
		if err := f.cfg.Platform.CloseWork(ctx, w.ID, interrupted, true); err != nil {
			return err
		}
	}
	return f.cfg.Keeper.Closed(ctx, w.ID)
}

// hasEnded says that nothing is left of a closed work that expects more: its run announced messages that it did not send any
// more, or a worker could not read one. Where OpenCTI does not say how much is in the queue there may be something.
func (f *Follower) hasEnded(ctx context.Context, w state.Work, report opencti.WorkReport) (bool, error) {
	s, seen := f.still[w.ID]
	if !seen || s.done != report.Done {
		f.still[w.ID] = standstill{time.Now(), report.Done}
		return false, nil
	}
	queue, err := f.cfg.Platform.Watch(ctx, "")
	if err != nil || queue.Untold || queue.Messages > 0 {
		delete(f.still, w.ID)
		return false, err
	}
	return time.Since(s.since) >= standsStill, nil
}

// isThrough says that nothing of a complete work can be in the queue any more. It is complete too early where messages were
// published a second time, because the broker's confirms were lost, and with releases that know no works of many parts,
// whenever the workers keep up with the run: what fails then is found in its errors all the same.
func (f *Follower) isThrough(ctx context.Context, w state.Work, _ opencti.WorkReport) (bool, error) {
	if f.reached.After(w.Opened) {
		return true, nil // what lay in the queue behind it was processed
	}
	queue, err := f.cfg.Platform.Watch(ctx, "")
	if err != nil && !opencti.IsTemporary(err) && ctx.Err() == nil {
		return true, nil // some platforms never tell
	}
	return err == nil && (queue.Untold || queue.Messages == 0), err
}

// letGo asks no more for a work that has ended without being complete. Where its run has sent all that it announced, something
// is lost; one that failed otherwise than by the death of its process may have sent it all, too.
func (f *Follower) letGo(w state.Work, report opencti.WorkReport, about []zap.Field) {
	var failed, crashed bool
	short := report.Done < report.Expected
	for _, e := range report.Errors {
		failed = failed || e.Source == "" && !e.LeftOut()
		crashed = crashed || (e.Source == "" && e.Message == interrupted)
	}
	if short && !crashed {
		f.cfg.Keeper.Doubt(w.Run)
	}
	if failed || !short {
		f.cfg.Log.Info("OpenCTI has processed all that there is of a work that does not complete, as after an interruption; it is not looked at any more", about...)
	} else {
		f.cfg.Log.Error("messages of a work were lost, for nothing is in the queue and OpenCTI has not processed them all, as when a worker could not read one. "+
			"It does not tell which: all that the run brought is sent again as it comes, and CONNECTOR_REIMPORT=true brings everything again", about...)
	}
}

// giveUp asks no more for a work.
func (f *Follower) giveUp(w state.Work, report opencti.WorkReport, about []zap.Field) {
	if report.Done < report.Expected {
		f.cfg.Keeper.Doubt(w.Run)
	}
	f.cfg.Log.Error("OpenCTI has not come to the end of a work for seven days; it is not looked at any more. Something of it may be missing, "+
		"as when a worker could not read a message: where some were not processed, all that its run brought is sent again as it comes. "+
		"CONNECTOR_REIMPORT=true brings everything again", about...)
}
