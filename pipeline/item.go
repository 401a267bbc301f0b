package pipeline

import (
	"context"
	"encoding/json"
	"iter"
	"time"
)

// Cursor says how far one dataset has been delivered. It is what the connector state holds for the dataset, so it
// stays small and readable. The zero Cursor stands for a dataset that was never imported.
type Cursor struct {
	// Since is where the next pass begins: what changed at or after it has not been delivered yet.
	Since time.Time `json:"since"`
	// Until is where the window of a backfill ends, zero for a dataset of the schedule. Since reaches it when all is delivered. A
	// source may read a little beyond it, never less.
	Until time.Time `json:"until,omitzero"`
	// Pass is the pass under way, nil between two passes.
	Pass *Pass `json:"pass,omitempty"`
	// Failed names the items that could not be fetched or read; the next run tries them first.
	Failed []string `json:"failed,omitempty"`
	// Gone names items that were listed and then were not found twice. Each run looks for them again, in case the source
	// was wrong, but they hold nothing back.
	Gone []string `json:"gone,omitempty"`
}

// Pass is one walk over everything that a dataset holds since [Cursor.Since].
type Pass struct {
	// Started becomes the dataset's Since when the pass has been delivered to its end: what changes at the source
	// after this moment belongs to the next pass.
	Started time.Time `json:"started"`
	// After says that everything up to it, in the source's own order, is delivered. Only the source reads it.
	After string `json:"after,omitempty"`
	// KeptFrom is the After of the last page of which nothing waits on the sink's disk, nil when nothing waits at all.
	// Where that disk was lost, the pass goes on from there.
	KeptFrom *string `json:"kept_from,omitempty"`
}

// Page is the unit of progress: its cursor is committed when all of its items are settled.
type Page struct {
	Items []Item
	// Next is the cursor to commit once this page and all earlier ones of the dataset are settled.
	Next Cursor
	// Problems are what the source could not read on this page; they make the run a failed one, and each costs only
	// itself. Items among them that deserve another try also stand in Next.Failed.
	Problems []Problem
	// At is where the source is behind the page, for people.
	At Position
}

// Position is where a source is in its pass, as far as it knows.
type Position struct {
	// Left is how many items are still to be fetched, of a source that lists them first; below zero where it does not know.
	Left int
	// Until is up to when everything is read, of a source that reads in order of time; zero for others.
	Until time.Time
	// Share is how much is behind it, from 0 to 1: of the pass, of a source that reads in order of time; else of what it has listed,
	// which is what was left of the pass.
	Share float64
}

// Problem is something of a page that was not imported, with its cause.
type Problem struct {
	// ID is the item's id, or "" when the problem is not about a single item.
	ID  string
	Err error
}

// Item is what a source fetched: the text of one STIX object or of a JSON array of them.
type Item struct {
	Dataset string
	ID      string
	Data    json.RawMessage
	// Strict says that the source has read Data as JSON without repeated names and in valid Unicode, so that nobody need do so again.
	Strict bool
}

// Object is one STIX object as it will be sent.
type Object struct {
	ID   string
	Type string
	// AltID is a second id by which others may refer to the object (x_opencti_id), mostly empty.
	AltID string
	// Kind is what the object alone tells of its type at the destination; 0 where its id tells it.
	Kind uint8
	// Refs holds the ids that JSON refers to, each once, in order of appearance, never ID itself.
	Refs []string
	// Modified is the version of the object, zero when it has none.
	Modified time.Time
	// Digest is a hash of the canonical content: equal for two copies that differ only in key order, white space, or in
	// what the source leaves out at will and the transformer adds (author, marking). 0 says that the object was read back from
	// elsewhere, and may lack something.
	Digest uint64
	// Stated is what this copy states beside its content.
	Stated Stated
	// Weak says that the object is known by a name alone: it is worth sending only where nobody else has its id.
	Weak bool
	// Filtered says that this copy is not to be sent, for somebody wants it so. What refers to the object must not wait for it.
	// Unless it states a standard marking, the object has little more than its ids and its version.
	Filtered Filtered
	// JSON is the compact text of the object.
	JSON json.RawMessage
}

// Filtered says whether a filter leaves a copy of an object out.
type Filtered uint8

const (
	// Wanted copies are sent.
	Wanted Filtered = iota
	// Unwanted copies are not; another copy of the object may be, marked no less strictly than this one of its version.
	Unwanted
	// TooStrict copies are not, for the marking that they state, which counts for all copies of their version.
	TooStrict
)

// Stated is what one copy of an object states and another may leave out: what a copy leaves out says nothing. What the
// transformer adds in place of it does not count.
type Stated struct {
	// Author is a hash of the author's id, 0 for none.
	Author uint32
	// Level is how strict the strictest standard TLP marking is, from 2 for white up to 6 for red; 1 where there are only
	// markings of another kind, and 0 without any.
	Level uint8
	// Markings is a hash of the markings of another kind, 0 for none.
	Markings uint32
	// Labels is a hash of the labels, 0 for none, and References one of the external references.
	Labels, References uint32
	// Name is a hash of what identifies the object to OpenCTI beside its id: nothing can be added to an object without saying
	// that again.
	Name uint32
}

// Part is something that a copy of an object states beside its content, as a set of bits.
type Part uint8

// The parts: a set of them is their sum.
const (
	Labels     Part = 1 << iota
	References      // external_references
	Author          // created_by_ref
	Markings        // object_marking_refs
)

// Source reads one dataset.
type Source interface {
	// Dataset is the name under which the dataset's cursor is kept.
	Dataset() string
	// Pages walks the dataset from a cursor and ends with a page whose Next has no pass. It ends after it has yielded an
	// error; an error that wraps ctx.Err() means that ctx ended it early.
	Pages(ctx context.Context, from Cursor) iter.Seq2[Page, error]
}

// Transformer turns an item into the objects to send. Objects returned beside an error are kept; the error names what
// was left out (one [errors.Join] member for each object), and each member that is a [LeftOut] tells why. When ctx ends it may
// return early, with nothing that counts.
type Transformer interface {
	Transform(context.Context, Item) ([]Object, error)
}
