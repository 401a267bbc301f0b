// Package followup finds out what OpenCTI's workers made of the works of earlier runs, and has sent again, or names, what
// they could not import.
package followup

import (
	"context"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// Platform tells what became of works. Its errors are those of [opencti.Client].
type Platform interface {
	Work(ctx context.Context, workID string) (opencti.WorkReport, error)
	CloseWork(ctx context.Context, workID, message string, inError bool) error
	Watch(ctx context.Context, workID string) (opencti.Watched, error)
	Holds(ctx context.Context, ids []string) (map[string]string, error)
}

// Config is what a [Follower] works with; all of it must be set.
type Config struct {
	Platform Platform
	Keeper   *state.Keeper
	Index    *index.Index
	// Reread reads an object back from the text that OpenCTI reports of one that it could not import.
	Reread func(text []byte) (pipeline.Object, error)
	// AsAddition is what such an object is if it was sent as an addition to its object; false says that it cannot have been.
	AsAddition func(o pipeline.Object) (pipeline.Object, bool)
	Log        *zap.Logger
}

// Follower looks at the works of earlier runs. Its methods are called between two runs, but for [Follower.Counts].
type Follower struct {
	cfg    Config
	large  ledger
	counts counters

	tried map[string]time.Time // when a work was last asked for
	still map[string]standstill
	told  map[string]bool // it was said that a work cannot be followed
	// reached is when the last work was opened of which something was processed.
	reached time.Time
	full    bool // it was said that the disk takes no objects
	// fallenOut counts objects that waited for others and gave way to what is sent again, as far as nobody was told of it.
	fallenOut int
}

// standstill is since when so many messages of a work are processed, and no more.
type standstill struct {
	since time.Time
	done  int
}

// New returns a follower that has looked at nothing yet.
func New(cfg Config) *Follower {
	return &Follower{cfg: cfg, large: ledger{dir: cfg.Index.Dir()}, tried: map[string]time.Time{}, still: map[string]standstill{}, told: map[string]bool{}}
}

// Counts are figures since the start.
type Counts struct {
	// Failed counts versions of objects that were named because OpenCTI does not have them, Again those that are sent again.
	Failed, Again int64
	// Open counts the works that OpenCTI is not through with.
	Open int
}

type counters struct{ failed, again atomic.Int64 }

// Counts may be called from any goroutine.
func (f *Follower) Counts() Counts {
	return Counts{Failed: f.counts.failed.Load(), Again: f.counts.again.Load(), Open: len(f.cfg.Keeper.Importing())}
}

// sayFull says once that what OpenCTI could not import cannot be remembered.
func (f *Follower) sayFull(err error) {
	if !f.full {
		f.full = true
		f.cfg.Log.Warn("what OpenCTI could not import cannot be put on disk; make room in CONNECTOR_STATE_DIR, it is looked at again", zap.Error(err))
	}
}
