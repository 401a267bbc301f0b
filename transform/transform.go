// Package transform turns fetched STIX into STIX that OpenCTI accepts.
//
// It is pure: no clock, no input or output, and the same item always gives the same bytes. What it does not
// have to change stays as it came, letter for letter: numbers of any size, unknown properties, the order of keys.
package transform

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// Transformer maps items. It may be used by many goroutines at once.
type Transformer struct {
	mapping  mapping
	repaired atomic.Uint64
	scratch  sync.Pool
	recall   *recall
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
	switch c.Labels {
	case LabelsAsKnowledge, LabelsKept, LabelsDropped:
	default:
		return nil, fmt.Errorf("unknown treatment of labels %d", c.Labels)
	}
	if c.Score != nil && (*c.Score < 0 || *c.Score > 100) {
		return nil, fmt.Errorf("score %d is not from 0 to 100", *c.Score)
	}
	filters, err := newFilters(c.Filters, marking, actors(c.ThreatActorAsIntrusionSet))
	if err != nil {
		return nil, err
	}
	t := &Transformer{mapping: newMapping(c, marking, filters), recall: newRecall()}
	t.scratch.New = func() any { return newScratch() }
	return t, nil
}

// Repaired counts the objects that were read although they were not quite JSON: a name given twice (the last one counts)
// or text that is no valid Unicode (U+FFFD instead). It counts those as well whose description was no text, which goes. They
// are in the output like any other.
func (t *Transformer) Repaired() uint64 { return t.repaired.Load() }

// Transform maps an item's objects. The author and the marking come first when an object refers to them; then the
// objects in their order. All copies of one id come that differ in their text or in what they state: which of them has the
// last word is not for an item to say, since others bring copies too. Then comes what they say of each other in their labels
// and in object_refs, as attack patterns and relations.
//
// An object that cannot be sent is left out and named by an [*ObjectError] in the joined error, and so is, without one, what the
// objects say of each other where the mapping fails over that; the others are returned beside it. So are, before all others,
// those that a filter leaves out, with [pipeline.Object.Filtered] set. An item that is not JSON gives an error and no objects. The
// copies of the author and of standard markings that an item itself may bring give way to the transformer's own, which are the
// same in every item. Texts and references belong to all who have them, and must not be changed.
func (t *Transformer) Transform(ctx context.Context, item pipeline.Item) ([]pipeline.Object, error) {
	texts, err := readItem(item.Data, item.Strict)
	if err != nil {
		return nil, fmt.Errorf("read item %s of %s: %w", item.ID, item.Dataset, err)
	}
	s := t.scratch.Get().(*scratch)
	s.ctx = ctx
	objects, err := t.objects(ctx, s, item, &texts)
	s.release()
	t.scratch.Put(s) // not after a panic: nobody knows what state it is in
	return objects, err
}

// objects maps what was read of an item.
func (t *Transformer) objects(ctx context.Context, s *scratch, item pipeline.Item, texts *itemText) ([]pipeline.Object, error) {
	// Room for author and marking stays free at the front.
	objects := append(s.objects[:0], pipeline.Object{}, pipeline.Object{})
	left := leftOut{item: item}
	var claims []claim
	var filtered []pipeline.Object
	withAuthor, withMarking := false, false
	for i := range texts.objects(&s.parsed) {
		o, reason := t.mapped(s, texts.isList())
		if ctx.Err() != nil { // an item can take seconds
			return nil, context.Cause(ctx)
		}
		if s.mended {
			t.repaired.Add(1)
		}
		switch {
		case reason.why != "":
			left.add(i, o.ID, reason)
			if o.Filtered != pipeline.Wanted {
				filtered = append(filtered, o)
			}
			continue
		case o.ID == t.mapping.author.ID:
			withAuthor = true
			continue
		case o.ID == t.mapping.marking.ID:
			withMarking = true
			continue
		}
		if c := s.claim; !c.isEmpty() {
			c.source = o
			claims = append(claims, c)
		}
		if standard, is := standardMarkings[o.ID]; is {
			o = standard.definition
		}
		if !texts.isList() || s.isNew(o, t.recall.keyOf(o.JSON)) {
			objects = append(objects, o)
		}
	}
	t.repaired.Add(texts.repaired)
	objects, tooMuch, broken := t.mapping.derived(s, objects, claims)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if broken != nil {
		left.addDerived(broken)
	}
	left.addMore(TooMuchDerived, tooMuch)
	if len(filtered) == 0 && isOutlier(objects) { // which is not copied, and not used again
		s.objects = nil
		return t.front(objects, withAuthor, withMarking), left.err()
	}
	s.objects = objects
	return slices.Concat(filtered, t.front(objects, withAuthor, withMarking)), left.err()
}

// mapped maps the object that was read, or recalls what became of it in another item.
func (t *Transformer) mapped(s *scratch, amongOthers bool) (o pipeline.Object, reason refusal) {
	if !amongOthers || !mayComeAgain(s.text) {
		return t.mapping.guarded(s)
	}
	k, length := t.recall.keyOf(s.text), len(s.text)
	if m, known := t.recall.get(k); known {
		s.mended, s.claim = m.mended, m.claim
		return m.object, refusal{}
	}
	o, reason = t.mapping.guarded(s)
	if reason.why == "" && s.ctx.Err() == nil {
		t.recall.add(k, mapped{o, s.claim, s.mended, length})
	}
	return o, reason
}

// copyKey tells the copies of an item apart. Two that read the same can differ in what the source states of it.
type copyKey struct {
	text   textKey
	stated pipeline.Stated
}

// isNew says whether no copy of an object came before that reads the same.
func (s *scratch) isNew(o pipeline.Object, text textKey) bool {
	key := copyKey{text, o.Stated}
	if s.copies[key] {
		return false
	}
	s.copies[key] = true
	return true
}

// front fills the two free places at the front with what is wanted there, by the item or by what refers to it, and cuts off what is
// not.
func (t *Transformer) front(objects []pipeline.Object, withAuthor, withMarking bool) []pipeline.Object {
	from := 2
	for i := from; i < len(objects) && !(withAuthor && withMarking); i++ {
		withAuthor = withAuthor || slices.Contains(objects[i].Refs, t.mapping.author.ID)
		withMarking = withMarking || slices.Contains(objects[i].Refs, t.mapping.marking.ID)
	}
	if withMarking {
		from--
		objects[from] = t.mapping.marking
	}
	if withAuthor {
		from--
		objects[from] = t.mapping.author
	}
	return objects[from:]
}
