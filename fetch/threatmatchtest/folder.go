package threatmatchtest

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// Folder is data in memory that may change while it is served. The zero Folder is empty and ready to use.
type Folder struct {
	mu         sync.RWMutex
	sets       [3]itemSet
	indicators []dated // in order of modified, equal ones in order of their addition
}

type itemSet struct {
	ids  []int64 // in order of addition
	byID map[int64]stored
}

type stored struct {
	date    time.Time
	objects []byte
}

// dated is an indicator.
type dated struct {
	modified time.Time
	id       string
	text     []byte
}

// IDs implements Data, with the ids in the order in which the items were added.
func (f *Folder) IDs(name string, since time.Time) iter.Seq[int64] {
	set, ok := datasetOf(name)
	if !ok {
		return func(func(int64) bool) {}
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	// Collected here, so that no lock is held while a slow client reads.
	var ids []int64
	for _, id := range f.sets[set].ids {
		if !f.sets[set].byID[id].date.Before(since) {
			ids = append(ids, id)
		}
	}
	return slices.Values(ids)
}

// Span returns the first and the last date of a dataset's items, or of the "indicators"; zero times where there are none. Those
// without a date that can be read do not count.
func (f *Folder) Span(name string) (oldest, newest time.Time) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if set, ok := datasetOf(name); ok {
		for _, it := range f.sets[set].byID {
			if oldest.IsZero() || it.date.Before(oldest) {
				oldest = it.date
			}
			if it.date.After(newest) {
				newest = it.date
			}
		}
		return oldest, newest
	}
	if end, _ := slices.BinarySearchFunc(f.indicators, undated, byModified); name == "indicators" && end > 0 {
		return f.indicators[0].modified, f.indicators[end-1].modified
	}
	return oldest, newest
}

// Item implements Data.
func (f *Folder) Item(name, id string) ([]byte, bool) {
	set, ok := datasetOf(name)
	n, err := strconv.ParseInt(id, 10, 64)
	if !ok || err != nil {
		return nil, false
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	it, ok := f.sets[set].byID[n]
	return it.objects, ok
}

// Indicators implements Data.
func (f *Folder) Indicators(after time.Time, inclusive bool, limit int) ([][]byte, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	first, exact := slices.BinarySearchFunc(f.indicators, after, byModified)
	for exact && !inclusive && first < len(f.indicators) && f.indicators[first].modified.Equal(after) {
		first++
	}
	last := first + max(0, min(limit, len(f.indicators)-first))
	objects := make([][]byte, 0, last-first)
	for _, i := range f.indicators[first:last] {
		objects = append(objects, i.text)
	}
	return objects, last < len(f.indicators)
}

func byModified(i dated, t time.Time) int { return i.modified.Compare(t) }

// Put adds an item to a dataset, or replaces it in its place. The objects are served as they are, valid or not.
func (f *Folder) Put(name string, id int64, date time.Time, objects []byte) error {
	set, ok := datasetOf(name)
	if !ok {
		return fmt.Errorf("put item: %q is none of profiles, alerts, reports", name)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &f.sets[set]
	if s.byID == nil {
		s.byID = make(map[int64]stored)
	}
	if _, has := s.byID[id]; !has {
		s.ids = append(s.ids, id)
	}
	s.byID[id] = stored{date, objects}
	return nil
}

// PutIndicator adds an indicator where its modified belongs, behind those with an equal one, and behind all others where that
// cannot be read. It replaces any with its id.
func (f *Folder) PutIndicator(object []byte) error {
	i, err := parseIndicator(object)
	if err != nil {
		return fmt.Errorf("put indicator: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.indicators = slices.DeleteFunc(f.indicators, func(old dated) bool { return old.id == i.id })
	at, _ := slices.BinarySearchFunc(f.indicators, i.modified.Add(1), byModified)
	f.indicators = slices.Insert(f.indicators, at, i)
	return nil
}

// sortIndicators puts indicators that were appended in order.
func (f *Folder) sortIndicators() {
	slices.SortStableFunc(f.indicators, func(a, b dated) int { return a.modified.Compare(b.modified) })
}

// lax lets through what a client has to cope with.
var lax = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

func parseIndicator(object []byte) (dated, error) {
	var has struct {
		ID       string `json:"id"`
		Modified any    `json:"modified"`
	}
	if err := json.Unmarshal(object, &has, lax); err != nil {
		return dated{}, err
	}
	if has.ID == "" {
		return dated{}, errors.New("it has no id")
	}
	text, _ := has.Modified.(string)
	modified, ok := pipeline.ParseTime(text)
	if !ok {
		modified = undated
	}
	return dated{modified, has.ID, object}, nil
}

// undated is where an indicator without a modified that can be read stands: behind all others, whatever the bound.
var undated = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
