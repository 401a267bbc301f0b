package followup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state"
)

// LookEvery is the least time between two questions for the same work.
const LookEvery = time.Minute

// Found is what a look has found that a run has to make good.
type Found struct {
	// Again counts objects that the next run sends again, whatever its sources bring.
	Again int
	// Deleted says that a work was deleted before it was imported: the next run begins where that one's did.
	Deleted bool
	// Through counts the messages of works that OpenCTI has come to the end of, and Failed those of them that it could not import.
	Through, Failed int
}

// And is what two looks have found together.
func (f Found) And(more Found) Found {
	return Found{f.Again + more.Again, f.Deleted || more.Deleted, f.Through + more.Through, f.Failed + more.Failed}
}

// Look asks for each work that was not imported to its end, all of them or those that were not asked for within [LookEvery],
// and draws the conclusions. What fails is tried again by the next look. The error is one of [opencti.IsTemporary], for which
// a caller may wait, or says that ctx ended: a work that cannot be followed for another reason is named in the log, once, and
// keeps nothing else from being done.
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
		err := f.look(ctx, w, &found)
		switch {
		case err == nil:
		case ctx.Err() != nil, opencti.IsTemporary(err):
			return found, fmt.Errorf("look at the work %s: %w", w.ID, err)
		case errors.Is(err, pipeline.ErrAbandon):
			return found, nil // a reset, which knows no works
		case !f.told[w.ID]:
			f.told[w.ID] = true
			f.cfg.Log.Warn("what became of a work cannot be found out; it is tried again every minute for seven days",
				zap.String("work", w.ID), zap.Time("opened", w.Opened), zap.Error(err))
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
			delete(f.still, id)
			delete(f.told, id)
		}
	}
	f.large.removeAllBut(runs)
}

func (f *Follower) look(ctx context.Context, w state.Work, found *Found) error {
	if w.Done {
		if f.cfg.Index.Waiting().Unimported() == 0 || isOld(w) {
			f.cfg.Keeper.Imported(w.ID)
		}
		return nil
	}
	about := []zap.Field{zap.String("work", w.ID), zap.Time("opened", w.Opened)}
	report, err := f.cfg.Platform.Work(ctx, w.ID)
	if errors.Is(err, opencti.ErrWorkNotAlive) {
		f.cfg.Log.Warn("a work was deleted in OpenCTI before all of it was imported; what its run brought is imported again", about...)
		found.Deleted = true
		return f.cfg.Keeper.Void(ctx, w.ID)
	}
	if err == nil {
		err = f.follow(ctx, w, report, found, about)
	}
	if err != nil && isOld(w) && ctx.Err() == nil {
		f.giveUp(w, report, append(about, zap.Error(err)))
		f.cfg.Keeper.Imported(w.ID)
		return nil
	}
	return err
}

// follow draws the conclusions from what OpenCTI reports of a work.
func (f *Follower) follow(ctx context.Context, w state.Work, report opencti.WorkReport, found *Found, about []zap.Field) error {
	// Of a work without messages OpenCTI says, once it is complete, that it had one.
	processed := report.Done > 1 || report.Done == 1 && !report.Complete
	if processed && w.Opened.After(f.reached) {
		f.reached = w.Opened
	}
	if done, err := f.workOff(ctx, w, report, found); err != nil || !done {
		return err
	}
	if !report.Complete && w.Open {
		return f.close(ctx, w, report)
	}
	if !isOld(w) {
		hasEnded := f.hasEnded
		if report.Complete {
			hasEnded = f.isThrough
		}
		if ended, err := hasEnded(ctx, w, report); err != nil || !ended {
			return err
		}
	}
	if done, err := f.settleUnnamed(ctx, w, report); err != nil || !done {
		return err
	}
	about = append(about, zap.Int("messages", report.Expected), zap.Int("processed", report.Done))
	switch {
	case report.Complete:
		found.Through, found.Failed = found.Through+report.Expected, found.Failed+len(report.Errors)-report.Said()
	case isOld(w):
		f.giveUp(w, report, about)
	default:
		f.letGo(w, report, about)
	}
	if len(report.Errors) > 0 && f.cfg.Index.Waiting().Unimported() > 0 {
		f.cfg.Keeper.Done(w.ID) // the state remembers it until what is on the shelf went, for the disk may be lost
	} else {
		f.cfg.Keeper.Imported(w.ID)
	}
	return nil
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
	if f.fallenOut > 0 {
		f.cfg.Log.Warn("too many objects wait on disk, so that the oldest of those that wait for others are forgotten; CONNECTOR_REIMPORT=true brings them back",
			zap.Int("fallen_out", f.fallenOut))
		f.fallenOut = 0
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
		f.cfg.Log.Error("many imports of a work failed, and OpenCTI names no more of them; the other objects of its run are sent again as they come. "+
			"CONNECTOR_REIMPORT=true brings everything again", zap.String("work", w.ID), zap.Int("named", len(report.Errors)))
	}
	f.cfg.Keeper.Followed(w.ID, len(report.Errors), report.Said())
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
