package followup

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// mostReferences bounds the ids that are asked for at a look: a report can refer to many thousands, of which any may be gone.
const mostReferences = 20_000

// findMissing finds out which of the objects that the index takes for delivered OpenCTI lacks, where imports failed for want
// of one: somebody deleted it, or a worker could not read its message. It is sent again when it comes again, and what refers
// to it goes without until then. Nothing is concluded where OpenCTI does not say what it holds.
func (f *Follower) findMissing(ctx context.Context, errors []opencti.ImportError) error {
	var ids []string
	seen := map[string]bool{}
	for _, e := range errors {
		if !e.LacksReference() {
			continue
		}
		for _, ref := range f.objectOf(e).Refs {
			if len(ids) < mostReferences && !seen[ref] && f.isDelivered(ref) {
				seen[ref] = true
				ids = append(ids, ref)
			}
		}
	}
	if len(ids) == 0 {
		return nil
	}
	held, err := f.cfg.Platform.Holds(ctx, ids)
	if opencti.IsRefused(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, id := range ids {
		if _, there := held[id]; there {
			continue
		}
		key := index.KeyOf(id)
		rec, _ := f.cfg.Index.Lookup(key)
		rec.Mark, rec.Day = index.Lost, index.DayOf(time.Now())
		f.cfg.Index.Put(key, rec)
		f.cfg.Log.Info("OpenCTI lacks an object that others refer to; it is sent again when it comes again", zap.String("object", id))
	}
	return nil
}

// isDelivered says that the index takes an object for delivered.
func (f *Follower) isDelivered(id string) bool {
	rec, found := f.cfg.Index.Lookup(index.KeyOf(id))
	return found && (rec.Mark == index.Delivered || rec.Mark == index.Renewed)
}
