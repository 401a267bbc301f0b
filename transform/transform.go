// Package transform turns fetched STIX into STIX that OpenCTI accepts.
//
// It is pure: no context, no clock, no input or output, and the same item always gives the same bytes. What it does not
// have to change stays as it came, letter for letter: numbers of any size, unknown properties, the order of keys.
package transform

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/transform/description"
)

// MappingVersion changes whenever the same input gives other output, so that an index of what was delivered under another
// version is not believed.
const MappingVersion = 2

// Format is what descriptions become.
type Format = description.Format

// The formats of descriptions; [Markdown] is the zero value.
const (
	Markdown = description.Markdown
	Text     = description.Text
	HTML     = description.HTML
)

// ParseFormat reads the name of a format: markdown, text or html.
func ParseFormat(name string) (Format, error) { return description.ParseFormat(name) }

// Config says how to map.
type Config struct {
	// TLP is the marking for objects that bring none: white, clear, green, amber, amber+strict or red.
	TLP string
	// ThreatActorAsIntrusionSet turns threat actors, and every reference to one, into intrusion sets.
	ThreatActorAsIntrusionSet bool
	// Descriptions is the format of descriptions.
	Descriptions Format
}

// Transformer maps items. It may be used by many goroutines at once.
type Transformer struct {
	config   Config
	author   pipeline.Object
	marking  pipeline.Object
	defaults defaults
	repaired atomic.Uint64
	scratch  sync.Pool
}

var _ pipeline.Transformer = (*Transformer)(nil)

// New returns a transformer, or an error that names the setting it cannot work with.
func New(c Config) (*Transformer, error) {
	marking, err := markingFor(c.TLP)
	if err != nil {
		return nil, err
	}
	switch c.Descriptions {
	case Markdown, Text, HTML:
	default:
		return nil, fmt.Errorf("unknown description format %d", c.Descriptions)
	}
	t := &Transformer{config: c}
	t.scratch.New = func() any { return new(scratch) }
	s := new(scratch)
	t.author, t.marking = s.constant(authorJSON), s.constant(marking)
	t.defaults = defaults{
		author:  `"created_by_ref":"` + t.author.ID + `"`,
		marking: `"object_marking_refs":["` + t.marking.ID + `"]`,
	}
	return t, nil
}

// defaults are the members that an object without them gets.
type defaults struct{ author, marking string }

// maxNamed bounds how many objects of one item an error names: an answer of 64 MiB can hold millions of bad ones.
const maxNamed = 1000

// ObjectError names one object that was left out, and why.
type ObjectError struct {
	Dataset, Item string
	// ObjectID is "" when the object has none.
	ObjectID string
	Reason   string
}

func (e *ObjectError) Error() string {
	id := e.ObjectID
	if id == "" {
		id = "object without id"
	}
	return fmt.Sprintf("leave out %s of %s %s: %s", id, e.Dataset, e.Item, e.Reason)
}

// Repaired counts the objects that were read although they were not quite JSON: a name given twice (the last one counts)
// or text that is no valid Unicode (U+FFFD instead). They are in the output like any other.
func (t *Transformer) Repaired() uint64 { return t.repaired.Load() }

// Transform maps an item's objects. The author and the marking come first when an object refers to them; then the
// objects in their order, each id once: the copy with the latest modified, of equal ones the last.
//
// An object that cannot be sent is left out and named by an [*ObjectError] in the joined error; the others are returned
// beside it. An item that is not JSON gives an error and no objects. The copies of author and marking that an item itself
// may bring give way to the transformer's own, which are the same in every item.
func (t *Transformer) Transform(item pipeline.Item) ([]pipeline.Object, error) {
	texts, err := t.read(item.Data)
	if err != nil {
		return nil, fmt.Errorf("read item %s of %s: %w", item.ID, item.Dataset, err)
	}
	s := t.scratch.Get().(*scratch)
	defer func() { s.release(); t.scratch.Put(s) }()

	// Room for author and marking stays free at the front.
	objects := make([]pipeline.Object, 2, len(texts)+2)
	places := make(map[string]int, len(texts))
	var errs []error
	withAuthor, withMarking, unnamed := false, false, 0
	for i, text := range texts {
		o, reason := t.object(s, text)
		switch {
		case reason != "":
			if len(errs) == maxNamed {
				unnamed++
				continue
			}
			if o.ID == "" {
				reason = fmt.Sprintf("number %d in the item %s", i+1, reason)
			}
			errs = append(errs, &ObjectError{Dataset: item.Dataset, Item: item.ID, ObjectID: o.ID, Reason: reason})
			continue
		case o.ID == t.author.ID:
			withAuthor = true
			continue
		case o.ID == t.marking.ID:
			withMarking = true
			continue
		}
		if at, seen := places[o.ID]; !seen {
			places[o.ID] = len(objects)
			objects = append(objects, o)
		} else if !o.Modified.Before(objects[at].Modified) {
			objects[at] = o
		}
	}
	if unnamed > 0 {
		errs = append(errs, &ObjectError{Dataset: item.Dataset, Item: item.ID, Reason: fmt.Sprintf("and %d more like these", unnamed)})
	}
	for _, o := range objects[2:] {
		withAuthor = withAuthor || slices.Contains(o.Refs, t.author.ID)
		withMarking = withMarking || slices.Contains(o.Refs, t.marking.ID)
	}
	return t.front(objects, withAuthor, withMarking), errors.Join(errs...)
}

// front fills the two free places at the front with what is wanted there, and cuts off what is not.
func (t *Transformer) front(objects []pipeline.Object, withAuthor, withMarking bool) []pipeline.Object {
	from := 2
	if withMarking {
		from--
		objects[from] = t.own(t.marking)
	}
	if withAuthor {
		from--
		objects[from] = t.own(t.author)
	}
	return objects[from:]
}

// own copies one of the transformer's own objects, so that no caller can change it for the others.
func (t *Transformer) own(o pipeline.Object) pipeline.Object {
	o.JSON = bytes.Clone(o.JSON)
	return o
}
