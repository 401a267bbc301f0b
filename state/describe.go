package state

import (
	"maps"
	"slices"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// Description is what a state says, for people. Times that are not known are zero.
type Description struct {
	// Nothing says that there is no state: the next run is a first one.
	Nothing bool
	// Datasets are where the datasets are, by name; one that is not among them was never imported.
	Datasets []DatasetPlace
	// Backfill is where the datasets of a backfill under way are that are not done, by name, each in its window.
	Backfill []DatasetPlace
	// UnderWay is that backfill as a whole, the zero value for none.
	UnderWay Backfill
	// LastRun is the moment up to which every enabled dataset is delivered.
	LastRun time.Time
	// ImportFrom is where datasets begin that are not among Datasets, and Beginning the earliest moment that was imported from.
	ImportFrom, Beginning time.Time
	// Works are those that OpenCTI may not have imported all of, and Doubted the runs of lost ones.
	Works   []Work
	Doubted []uint32
	// Folder names the folder of whoever wrote the state, Index its index of delivered objects, and Commits counts what
	// was stored.
	Folder, Index string
	Commits       uint64
	// Reset is when the connector was created in OpenCTI or last reset, as far as the writer knew.
	Reset time.Time
	// Edited is when an operator stored the state by hand; zero once a connector has taken it over.
	Edited time.Time
	// Others names members that somebody else wrote.
	Others []string
}

// DatasetPlace is where a dataset is.
type DatasetPlace struct {
	Name string
	pipeline.Cursor
}

// Describe tells what a state text says. The error wraps [ErrUnreadable] or [ErrNewer].
func Describe(text string) (Description, error) {
	d, err := parse(text)
	if err != nil {
		return Description{}, err
	}
	return d.describe(), nil
}

// Dataset returns where a dataset is. It reports false for one that was never imported.
func (d Description) Dataset(name string) (DatasetPlace, bool) {
	return placeOf(d.Datasets, name)
}

// Backfilled returns where a dataset of the backfill is. It reports false for one that is done or was not ordered.
func (d Description) Backfilled(name string) (DatasetPlace, bool) {
	return placeOf(d.Backfill, name)
}

func placeOf(places []DatasetPlace, name string) (DatasetPlace, bool) {
	i := slices.IndexFunc(places, func(p DatasetPlace) bool { return p.Name == name })
	if i < 0 {
		return DatasetPlace{}, false
	}
	return places[i], true
}

func (d document) describe() Description {
	c := d.clone()
	description := Description{
		Nothing: d.empty(), LastRun: d.lastRun, ImportFrom: d.importFrom, Beginning: d.beginning,
		Datasets: placesOf(c.datasets), Backfill: c.backfillPlaces(), UnderWay: c.backfillUnderWay(),
		Doubted: c.doubted, Folder: d.folder, Index: d.index, Commits: d.commits, Reset: d.reset, Edited: d.edited,
		Others: slices.Sorted(maps.Keys(d.others)),
	}
	for _, w := range c.works {
		description.Works = append(description.Works, w.Work)
	}
	return description
}

func (d document) backfillPlaces() (places []DatasetPlace) {
	left := undelivered(d.backfill)
	for _, name := range slices.Sorted(maps.Keys(left)) {
		places = append(places, DatasetPlace{name, left[name].Cursor})
	}
	return places
}

func placesOf(cursors map[string]pipeline.Cursor) (places []DatasetPlace) {
	for _, name := range slices.Sorted(maps.Keys(cursors)) {
		places = append(places, DatasetPlace{name, cursors[name]})
	}
	return places
}
