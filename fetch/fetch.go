// Package fetch turns ThreatMatch datasets into pipeline sources: each walks one dataset from a cursor, page by page, so
// that every page's cursor claims only what that page and the earlier ones delivered or named as failed.
package fetch

import (
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// The datasets, as the API's paths name them and as they stand in the connector's state; the paging API of the indicators
// has no name for its own.
const (
	ProfilesDataset   = "profiles"
	AlertsDataset     = "alerts"
	ReportsDataset    = "reports"
	IndicatorsDataset = "iocs"
)

// Options bounds a source; a zero value stands for its default.
type Options struct {
	// As is the name under which the dataset is kept, its own where empty.
	As string
	// Concurrency is how many items are fetched side by side, or slices of time that hold indicators.
	Concurrency int
	// PageItems is how many items make a page, and how many may be fetched ahead of the page under way.
	PageItems int
	// MaxFailed bounds the list of failed items: the state stays small enough to read.
	MaxFailed int
	// Overlap is how long before the moment from which a pass reads it looks for what has become visible since, but not
	// before NotBefore.
	Overlap   time.Duration
	NotBefore time.Time
	// Room bounds the bytes of what is fetched and not handed on; the sources of a run share it.
	Room *Room
	// FlushAfter is how long an unfinished page waits for a slow item before it goes out as it is.
	FlushAfter time.Duration
	// Log is told at debug where indicators cannot be read in slices; nil for nobody.
	Log *zap.Logger
}

const (
	defaultConcurrency = 8
	defaultPageItems   = 32              // four rounds of workers: a slow item idles none, a crash costs seconds
	maxGone            = 100             // the rest is forgotten: what was not found twice seldom comes back
	defaultMaxFailed   = 500             // some 5 kB of state
	defaultRoom        = 16 << 20        // a page of items of half a megabyte
	pageParts          = 4               // of the room that a page takes before it goes out, so that the rest can be fetched meanwhile
	defaultFlushAfter  = 2 * time.Second // about as often as progress is committed
)

func (o Options) withDefaults() Options {
	if o.Concurrency <= 0 {
		o.Concurrency = defaultConcurrency
	}
	if o.PageItems <= 0 {
		o.PageItems = defaultPageItems
	}
	if o.MaxFailed <= 0 {
		o.MaxFailed = defaultMaxFailed
	}
	if o.Room == nil {
		o.Room = NewRoom(defaultRoom)
	}
	if o.FlushAfter <= 0 {
		o.FlushAfter = defaultFlushAfter
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return o
}

// from is where a pass looks that reads from a moment on: a source can show things later than their date says, such as what a long
// transaction has written.
func (o Options) from(since time.Time) time.Time {
	from := since.Add(-o.Overlap)
	if from.Before(o.NotBefore) {
		from = o.NotBefore
	}
	if from.After(since) {
		return since
	}
	return from
}

// serverClock tells a time that the server has already reached, as far as is known; see threatmatch.Client.
type serverClock interface {
	Now() time.Time
	Ahead() time.Duration
}

// start takes the moment at which a pass begins. The server's clock may become known with the pass's first answer only,
// so the moment is read through the function returned, afterwards. It is never before since: what was certain once stays
// so, also when a slow answer makes the clocks look further apart.
func start(clock serverClock, since time.Time) func() time.Time {
	now, ahead := clock.Now(), clock.Ahead()
	return func() time.Time {
		started := now.Add(ahead - clock.Ahead()).UTC().Truncate(time.Second)
		if started.Before(since) {
			return since
		}
		return started
	}
}

// yieldFunc hands a page on; false means that nobody wants more.
type yieldFunc = func(pipeline.Page, error) bool

// errUnwanted says that whoever ranges over the pages has stopped.
var errUnwanted = errors.New("no more pages wanted")
