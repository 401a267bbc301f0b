package followup

import (
	"context"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// NoteLarge returns what is told of the large objects of a run before they are published, see [emit.Config]. It is called
// while that run is under way.
func (f *Follower) NoteLarge(run uint32) func(ids []string) {
	return func(ids []string) {
		if err := f.large.note(run, ids); err != nil {
			f.cfg.Log.Debug("large objects of a run could not be noted; it is doubted should one of them fail", zap.Error(err))
		}
	}
}

// settleUnnamed finds out which objects failed of which OpenCTI told neither text nor id: it is asked for the large ones of
// the work, now that each was imported or failed. It reports false when nothing is concluded yet.
func (f *Follower) settleUnnamed(ctx context.Context, w state.Work, report opencti.WorkReport) (done bool, err error) {
	unnamed := 0
	var last opencti.ImportError
	for _, e := range report.Errors {
		if e.Source != "" && f.objectOf(e).ID == "" {
			unnamed++
			last = e
		}
	}
	if unnamed == 0 {
		return true, nil
	}
	large, err := f.large.of(w.Run)
	if err != nil {
		f.cfg.Log.Debug("the large objects of a run cannot be read; it is doubted", zap.Error(err))
	}
	held, err := f.cfg.Platform.Holds(ctx, large)
	if err != nil && !opencti.IsRefused(err) {
		return false, err
	}
	blind := err != nil
	if !blind {
		unnamed -= f.lose(w, large, held, last)
		if unnamed > 0 {
			unnamed -= f.suspect(w, large, held, unnamed, last)
		}
	}
	if unnamed > 0 && f.cfg.Keeper.Doubt(w.Run) {
		f.cfg.Log.Error("OpenCTI could not import objects and does not tell which; all that their run brought is sent again as it comes. "+
			"CONNECTOR_REIMPORT=true brings everything again", append(failure{work: w.ID, error: last}.fields(), zap.Int("objects", unnamed))...)
	}
	if err := f.cfg.Index.Flush(ctx); err != nil {
		if ctx.Err() != nil {
			return false, err
		}
		f.sayFull(err)
		return false, nil
	}
	return true, nil
}

// lose lets those large objects of a work be sent again when they come again that OpenCTI does not hold, and returns how many
// have failed, those included of which that was known.
func (f *Follower) lose(w state.Work, ids []string, held map[string]string, e opencti.ImportError) (lost int) {
	for _, id := range ids {
		o := pipeline.Object{ID: id, Type: typeOf(id)}
		rec, current := f.recordOf(w, &o)
		if _, there := held[id]; there || !current {
			continue
		}
		lost++
		if rec.Mark == index.Lost || rec.Mark == index.Refused {
			continue
		}
		failed := failure{work: w.ID, object: o, error: e}
		if rec.Tries >= mostTries {
			f.name(triedEnough, failed)
			rec.Mark = index.Refused
		} else {
			f.name("OpenCTI could not import a large object, and does not tell its text; it is sent again when it comes again, or with CONNECTOR_REIMPORT=true", failed)
			rec.Mark, rec.Tries = index.Lost, rec.Tries+1
		}
		f.put(o, rec)
	}
	return lost
}

// suspect lets those large objects of a work be sent again when they come again of which OpenCTI had an earlier version: it may
// lack the last one. Most of them are innocent, so none is named, nor has an attempt less. It returns how many of the failures
// that explains.
func (f *Follower) suspect(w state.Work, ids []string, held map[string]string, failures int, e opencti.ImportError) (explained int) {
	suspects := 0
	for _, id := range ids {
		o := pipeline.Object{ID: id, Type: typeOf(id)}
		_, there := held[id]
		rec, current := f.recordOf(w, &o)
		if there && current && (rec.Mark == index.Renewed || rec.Mark == index.Lost) { // lost where a crash came after that
			suspects++
			rec.Mark = index.Lost
			f.put(o, rec)
		}
	}
	explained = min(failures, suspects)
	if explained > 0 {
		f.counts.failed.Add(int64(explained))
		f.cfg.Log.Error("OpenCTI could not import new versions of large objects and does not tell of which; all that may be meant are sent again when they come again, or with CONNECTOR_REIMPORT=true",
			append(failure{work: w.ID, error: e}.fields(), zap.Int("objects", explained), zap.Int("of", suspects))...)
	}
	return explained
}
