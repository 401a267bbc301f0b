package transform

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// Why an object is left out.
const (
	NotAnObject    pipeline.Reason = "not an object"
	CarriesAnError pipeline.Reason = "error in place of data"
	NoID           pipeline.Reason = "no id"
	NoType         pipeline.Reason = "no type"
	UnknownType    pipeline.Reason = "unknown type"
	NoEnd          pipeline.Reason = "relation without an end"
	ToItself       pipeline.Reason = "relation to itself"
	TooDeep        pipeline.Reason = "nested too deep"
	LongID         pipeline.Reason = "id too long"
	TooMuchDerived pipeline.Reason = "too much to derive from one item"
)

// The filters that leave an object out.
const (
	AboveMaxTLP        pipeline.Reason = "above THREATMATCH_MAX_TLP"
	NotOfTypes         pipeline.Reason = "not of THREATMATCH_TYPES"
	OfExcludedType     pipeline.Reason = "of THREATMATCH_EXCLUDE_TYPES"
	BelowMinConfidence pipeline.Reason = "below THREATMATCH_MIN_CONFIDENCE"
	BelowMinScore      pipeline.Reason = "below THREATMATCH_MIN_SCORE"
	WithoutTag         pipeline.Reason = "without THREATMATCH_TAGS"
	WithExcludedTag    pipeline.Reason = "with THREATMATCH_EXCLUDE_TAGS"
)

// refusal is why one object is left out: the reason under which it is counted, and what a person wants to know beside its id,
// as the rest of a sentence. The zero refusal leaves nothing out.
type refusal struct {
	why   pipeline.Reason
	text  string
	stack []byte // of a fault of ours, for its log line
}

// ObjectError names one object that was left out, and why; one with More instead stands for the further objects of an item that
// were left out for the same reason.
type ObjectError struct {
	Dataset, Item string
	// ObjectID is "" when the object has none.
	ObjectID string
	// Why is the reason under which the object is counted, and Text what is particular to it.
	Why  pipeline.Reason
	Text string
	// More is a number of objects that are not named.
	More int

	stack []byte
}

// Stack implements [pipeline.Broken].
func (e *ObjectError) Stack() []byte { return e.stack }

func (e *ObjectError) Error() string {
	if e.More > 0 {
		return fmt.Sprintf("leave out %d more objects of %s %s: %s", e.More, e.Dataset, e.Item, e.Why)
	}
	id := e.ObjectID
	if id == "" {
		id = "object without id"
	}
	return fmt.Sprintf("leave out %s of %s %s: %s", id, e.Dataset, e.Item, e.Text)
}

// Intended implements [pipeline.Intended].
func (e *ObjectError) Intended() bool { return isFilter(e.Why) }

// LeftOut implements [pipeline.LeftOut].
func (e *ObjectError) LeftOut() (why pipeline.Reason, number int) { return e.Why, max(1, e.More) }

// leftOut collects what is left out of one item. No more is named for a reason than a log would show: an answer of 64 MiB can
// hold millions of bad objects.
type leftOut struct {
	item  pipeline.Item
	errs  []error
	count map[pipeline.Reason]int
}

// add takes up the object that is the item's n-th, from 0 on; id is "" when it has none.
func (l *leftOut) add(n int, id string, r refusal) {
	if l.count == nil {
		l.count = make(map[pipeline.Reason]int)
	}
	if l.count[r.why]++; l.count[r.why] > pipeline.MaxNamed {
		return
	}
	if id == "" {
		r.text = fmt.Sprintf("number %d in the item %s", n+1, r.text)
	}
	l.errs = append(l.errs, &ObjectError{Dataset: l.item.Dataset, Item: l.item.ID, ObjectID: id, Why: r.why, Text: r.text, stack: r.stack})
}

// addDerived takes up what the mapping fails to derive from the item's objects.
func (l *leftOut) addDerived(broken pipeline.Broken) {
	l.errs = append(l.errs, fmt.Errorf("leave out what the objects of %s %s say of others in labels, lists and patterns: %w", l.item.Dataset, l.item.ID, broken))
}

// addMore takes up objects that are not named.
func (l *leftOut) addMore(why pipeline.Reason, number int) {
	if number > 0 {
		l.errs = append(l.errs, &ObjectError{Dataset: l.item.Dataset, Item: l.item.ID, Why: why, More: number})
	}
}

// err returns what was taken up, nil for nothing.
func (l *leftOut) err() error {
	for _, why := range slices.Sorted(maps.Keys(l.count)) {
		l.addMore(why, l.count[why]-pipeline.MaxNamed)
	}
	return errors.Join(l.errs...)
}
