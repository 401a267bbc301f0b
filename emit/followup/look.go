package followup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/state"
)

const (
	// LookEvery is the least time between two questions for the same work.
	LookEvery = time.Minute
	// givenUp is the age at which nobody asks for a work any more: a message that a worker cannot read is never counted, so
	// its work is never complete.
	givenUp = 7 * 24 * time.Hour
	// interrupted is what OpenCTI shows of a work that its run did not close.
	interrupted = "the connector was interrupted; what it had not delivered follows with its next run"
)

// Found is what a look has found that a run has to make good.
type Found struct {
	// Again counts objects that the next run sends again, whatever its sources bring.
	Again int
	// Deleted says that a work was deleted before it was imported: the next run begins where that one's did.
	Deleted bool
}

// And is what two looks have found together.
func (f Found) And(more Found) Found { return Found{f.Again + more.Again, f.Deleted || more.Deleted} }

// Look asks for each work that was not imported to its end, all of them or those that were not asked for within [LookEvery],
// and draws the conclusions. What fails is tried again by the next look; the error is that of the platform, or says that ctx
// ended.
func (f *Follower) Look(ctx context.Context, all bool) (Found, error) {
	f.cfg.Keeper.ReadyIndex(ctx)
	works := f.cfg.Keeper.Works()
	f.forgetAllBut(works)
	// One that keeps failing must not keep the others from being asked for.
	slices.SortStableFunc(works, func(a, b state.Work) int { return f.tried[a.ID].Compare(f.tried[b.ID]) })
	var found Found
	for _, w := range works {
		if !all && time.Since(f.tried[w.ID]) < LookEvery {
			continue
		}
		f.tried[w.ID] = time.Now()
		if err := f.look(ctx, w, &found); err != nil {
			return found, fmt.Errorf("look at the work %s: %w", w.ID, err)
		}
	}
	return found, nil
}

// forgetAllBut lets go of what is known of other works.
func (f *Follower) forgetAllBut(works []state.Work) {
	runs, ids := make(map[uint32]bool, len(works)), make(map[string]bool, len(works))
	for _, w := range works {
		runs[w.Run], ids[w.ID] = true, true
	}
	for id := range f.tried {
		if !ids[id] {
			delete(f.tried, id)
			delete(f.refused, id)
		}
	}
	f.large.removeAllBut(runs)
}

func (f *Follower) look(ctx context.Context, w state.Work, found *Found) error {
	about := []zap.Field{zap.String("work", w.ID), zap.Time("opened", w.Opened)}
	old := time.Since(w.Opened) >= givenUp
	report, err := f.cfg.Platform.Work(ctx, w.ID)
	switch {
	case errors.Is(err, opencti.ErrWorkNotAlive):
		f.cfg.Log.Warn("a work was deleted in OpenCTI before all of it was imported; what its run brought is imported again", about...)
		found.Deleted = true
		return f.cfg.Keeper.Void(ctx, w.ID)
	case err != nil && old && ctx.Err() == nil:
		f.giveUp(w, append(about, zap.Error(err)))
		return nil
	case opencti.IsRefused(err):
		if !f.refused[w.ID] {
			f.refused[w.ID] = true
			f.cfg.Log.Warn("OpenCTI does not say what became of a work; check the rights of the token's user", append(about, zap.Error(err))...)
		}
		return nil
	case err != nil:
		return err
	}
	if done, err := f.workOff(ctx, w, report, found); err != nil || !done {
		return err
	}
	if !report.Complete && !old {
		return f.close(ctx, w, report, about)
	}
	if done, err := f.settleUnnamed(ctx, w, report); err != nil || !done {
		return err
	}
	if !report.Complete {
		f.giveUp(w, append(about, zap.Int("messages", report.Expected), zap.Int("processed", report.Done)))
		return nil
	}
	f.cfg.Keeper.Imported(w.ID)
	return nil
}

// close closes a work that its run has left open.
func (f *Follower) close(ctx context.Context, w state.Work, report opencti.WorkReport, about []zap.Field) error {
	if !w.Open {
		return nil
	}
	if !report.Processed {
		f.cfg.Log.Info("closing a work that an interrupted run left open", about...)
		if err := f.cfg.Platform.CloseWork(ctx, w.ID, interrupted, true); err != nil {
			return err
		}
	}
	return f.cfg.Keeper.Closed(ctx, w.ID)
}

// giveUp asks no more for a work.
func (f *Follower) giveUp(w state.Work, about []zap.Field) {
	f.cfg.Log.Warn("OpenCTI has not come to the end of a work for seven days; it is not looked at any more. Something of it may be missing, "+
		"as when a worker could not read a message; CONNECTOR_REIMPORT=true brings everything again", about...)
	f.cfg.Keeper.Imported(w.ID)
}

// workOff draws the conclusions from the failed imports that were not seen before. It reports false when nothing is
// concluded yet.
func (f *Follower) workOff(ctx context.Context, w state.Work, report opencti.WorkReport, found *Found) (done bool, err error) {
	fresh := report.Errors[min(w.Errors, len(report.Errors)):]
	if len(fresh) == 0 {
		return true, nil
	}
	// Last what failed for want of others: these may have failed themselves.
	var lacking []opencti.ImportError
	for _, e := range fresh {
		if e.LacksReference() {
			lacking = append(lacking, e)
		} else if done, err := f.takeNote(ctx, w, e, found); err != nil || !done {
			return false, err
		}
	}
	if err := f.findMissing(ctx, lacking); err != nil {
		return false, err
	}
	for _, e := range lacking {
		if done, err := f.takeNote(ctx, w, e, found); err != nil || !done {
			return false, err
		}
	}
	// Before it is counted as seen: a crash in between may name something twice, but not lose it.
	if err := f.cfg.Index.Flush(ctx); err != nil {
		if ctx.Err() != nil {
			return false, err
		}
		f.sayFull(err)
		return false, nil
	}
	if len(report.Errors) >= opencti.MaxImportErrors && f.cfg.Keeper.Doubt(w.Run) {
		f.cfg.Log.Error("many imports of a work failed, and OpenCTI names no more of them; the other objects of its run are verified as they come again. "+
			"CONNECTOR_REIMPORT=true brings everything again", zap.String("work", w.ID), zap.Int("named", len(report.Errors)))
	}
	f.cfg.Keeper.Followed(w.ID, len(report.Errors))
	return true, nil
}

// takeNote considers a failed import. It reports false where the disk does not take it.
func (f *Follower) takeNote(ctx context.Context, w state.Work, e opencti.ImportError, found *Found) (done bool, err error) {
	again, err := f.consider(ctx, w, e)
	switch {
	case err != nil && ctx.Err() != nil:
		return false, err
	case err != nil:
		f.sayFull(err)
		return false, nil
	case again:
		found.Again++
	}
	return true, nil
}
