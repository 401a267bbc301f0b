package preview

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/fetch"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/transform"
)

// counter counts what passes: it stands in for the transformer, which it asks, and for what delivers. It keeps figures, sets of
// a fixed size and a few samples, and none of the objects.
type counter struct {
	transformer pipeline.Transformer
	window      window
	maxMessage  int // bytes
	relations   *relationCounter
	samples     *samples
	bundles     *bundles // nil where nothing is written
	sent        func(objects int)
	minScore    int // of THREATMATCH_MIN_SCORE, 0 for any

	// Only the goroutine that delivers uses these.
	ids, versions *seen
	strict        strictest
	types         map[string]int // distinct ids
	datasets      map[string]*count

	mu       sync.Mutex // guards all below
	fetched  map[string]*intake
	examples map[pipeline.Reason][]LeftOut
	scored   bool // something states a score; only known where minScore is set
}

// intake is what came of a dataset before it was transformed.
type intake struct {
	bytes int64
	// outside are indicators that changed after the window.
	outside int
	// oldest and newest are the dates of the others: of each the newest modified of its objects. Zero where none has one.
	oldest, newest time.Time
}

// date takes note of when something changed, by its objects.
func (i *intake) date(objects []pipeline.Object) {
	var at time.Time
	for _, o := range objects {
		at = later(at, o.Modified)
	}
	if at.IsZero() {
		return
	}
	if i.oldest.IsZero() || at.Before(i.oldest) {
		i.oldest = at.UTC()
	}
	i.newest = later(i.newest, at.UTC())
}

// count is what became of the items of a dataset.
type count struct {
	planned  int // items, where that is known
	items    int
	objects  map[string]int // by type, repeats included
	bytes    int64          // of these
	tooLarge int
	// toFiltered are relations to what a filter leaves out, and barred copies of what another copy marks too strictly.
	toFiltered, barred int
	// messages are what would go out, and late of these what the second half of the planned items brought, which tells more of
	// those to come: what many items share has come by then.
	messages, lateMessages, lateItems int
	messageBytes                      int64
}

// applicant has the length of the id of a user in OpenCTI, which is part of each message.
const applicant = "00000000-0000-0000-0000-000000000000"

func newCounter(t pipeline.Transformer, f transform.Fitter, w window, maxMessage int, plans []*plan) *counter {
	c := &counter{
		transformer: t, window: w, maxMessage: maxMessage, ids: newSeen(), versions: newSeen(), types: map[string]int{},
		strict: strictest{}, datasets: map[string]*count{}, fetched: map[string]*intake{}, examples: map[pipeline.Reason][]LeftOut{}, sent: func(int) {},
	}
	c.relations = newRelationCounter(f, c.ids, c.types)
	for _, p := range plans {
		c.datasets[p.dataset] = &count{planned: len(p.ids), objects: map[string]int{}}
		c.fetched[p.dataset] = new(intake)
	}
	return c
}

// Transform implements [pipeline.Transformer]. Of what lies outside of the window nothing comes.
func (c *counter) Transform(ctx context.Context, item pipeline.Item) ([]pipeline.Object, error) {
	if item.Dataset == fetch.IndicatorsDataset && !c.window.to.IsZero() {
		if at, ok := modifiedOf(item.Data); ok && c.window.isOver(at) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.fetched[item.Dataset].outside++
			return nil, nil
		}
	}
	size := int64(len(item.Data))
	objects, err := c.transformer.Transform(ctx, item)
	scored := c.minScore > 0 && transform.StatesScore(item)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.scored = c.scored || scored
	c.fetched[item.Dataset].bytes += size
	c.fetched[item.Dataset].date(objects)
	if err != nil && ctx.Err() == nil {
		c.example(item, err)
	}
	return objects, err
}

// mostExamples bounds what is shown of one reason.
const mostExamples = 3

// example keeps what an error tells of what is left out; mu is held.
func (c *counter) example(item pipeline.Item, err error) {
	errs := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		errs = joined.Unwrap()
	}
	for _, e := range errs {
		why := pipeline.Unreadable
		var told pipeline.LeftOut
		if errors.As(e, &told) {
			why, _ = told.LeftOut()
		}
		c.keepExample(item, why, e.Error())
	}
}

// keepExample wants mu held.
func (c *counter) keepExample(item pipeline.Item, why pipeline.Reason, text string) {
	if len(c.examples[why]) < mostExamples {
		c.examples[why] = append(c.examples[why], LeftOut{string(why), item.Dataset, item.ID, shortened(text)})
	}
}

// Put implements [pipeline.Sink]: what is counted is done with.
func (c *counter) Put(_ context.Context, item pipeline.Item, objects []pipeline.Object, settled func(pipeline.Outcome)) error {
	d := c.datasets[item.Dataset]
	d.items++
	c.relations.meet(objects)
	for _, o := range objects {
		if o.Filtered != pipeline.Wanted {
			c.strict.note(o)
			continue
		}
		if c.strict.bars(o) && !c.ids.has(hashOf(o.ID)) {
			d.barred++
			continue
		}
		if err := c.markings(d, o); err != nil {
			return err
		}
		if err := c.object(item, d, o); err != nil {
			return err
		}
	}
	if d.isLate() {
		d.lateItems++
	}
	c.sent(len(objects))
	settled(pipeline.Delivered)
	return nil
}

// markings counts the standard markings that an object refers to and nothing has brought: a run sends them along.
func (c *counter) markings(d *count, o pipeline.Object) error {
	for _, ref := range o.Refs {
		if marking, standard := transform.StandardMarking(ref); standard && !c.ids.has(hashOf(ref)) {
			if err := c.once(d, marking, emit.MessageSize(len(marking.JSON), applicant)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *count) isLate() bool { return c.items > c.planned/2 }

// object counts one object.
func (c *counter) object(item pipeline.Item, d *count, o pipeline.Object) error {
	size := emit.MessageSize(len(o.JSON), applicant)
	parts := 1
	if size > c.maxMessage {
		parts, _ = transform.Split(o, emit.ObjectSize(c.maxMessage, applicant))
	}
	if parts == 0 {
		d.tooLarge++
		c.mu.Lock()
		defer c.mu.Unlock()
		c.keepExample(item, emit.TooLarge, o.ID+" needs "+strconv.Itoa(size)+" bytes")
		return nil
	}
	d.objects[o.Type]++
	d.bytes += int64(len(o.JSON))
	return c.once(d, o, size)
}

// once counts what goes out of an object: each version once, and one that is known by a name alone only where nobody else has
// its id.
func (c *counter) once(d *count, o pipeline.Object, size int) error {
	id := hashOf(o.ID)
	first := c.ids.add(id)
	if first {
		c.types[o.Type]++
	}
	if o.AltID != "" {
		c.ids.add(hashOf(o.AltID))
	}
	fresh := c.versions.add(id ^ o.Digest*0x9e3779b97f4a7c15)
	counted := relation{id: id, in: d, bytes: int32(len(o.JSON)), message: int32(size), first: first, fresh: fresh, late: d.isLate()}
	if !fresh && c.versions.isSure() || o.Weak && !first {
		c.relations.keep(o, counted)
		return nil
	}
	o, counted.refitted = c.relations.fit(o, fresh)
	if fresh {
		d.messages++
		d.messageBytes += int64(size)
		if d.isLate() {
			d.lateMessages++
		}
	}
	undecided := c.relations.keep(o, counted)
	if fresh && !(undecided && c.relations.filtered != nil) {
		c.samples.take(o)
	}
	switch {
	case c.bundles == nil:
		return nil
	case undecided:
		return c.bundles.putOff(o)
	}
	return c.bundles.add(o)
}

// settle ends the counting: all has come that is to come, and so it is known which relations are sent. What was put off is written.
func (c *counter) settle() error {
	c.relations.settle()
	c.samples.drop(func(o pipeline.Object) bool { return relates(o.Type) && c.relations.isLeftOut(o.JSON) })
	return errors.Join(c.bundles.takeUp(func(text []byte) bool { return !c.relations.isLeftOut(text) }), c.bundles.close())
}

// Tick implements [pipeline.Sink].
func (c *counter) Tick(context.Context) error { return nil }

// Hurry implements [pipeline.Sink].
func (c *counter) Hurry(context.Context) error { return nil }

// Carry implements [pipeline.Sink]; nothing is ever carried.
func (c *counter) Carry(context.Context, string, func(pipeline.Outcome)) error { return nil }

// Finish implements [pipeline.Sink].
func (c *counter) Finish(context.Context, pipeline.End) error { return nil }

// startAt is the checkpoint of what keeps none.
type startAt window

// Cursor is the begin of the window, for all datasets.
func (s startAt) Cursor(string) pipeline.Cursor { return pipeline.Cursor{Since: s.from} }

// Commit keeps nothing.
func (s startAt) Commit(context.Context, map[string]pipeline.Cursor) error { return nil }
