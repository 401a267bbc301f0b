package emit

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// delivery cuts what the order has placed into batches, publishes them, and settles what the broker confirms.
type delivery struct {
	cfg      Config
	order    *order
	shelf    *shelf
	account  *counters
	envelope envelope

	batches  int       // number of the last one
	bundles  int       // number of the last one that was deposited
	rank     int64     // of the last message
	oldest   time.Time // when the oldest placed object was first seen; zero when there is none
	confirms confirms
	settling []*node // reused
}

func newDelivery(cfg Config, o *order, s *shelf, account *counters) *delivery {
	return &delivery{cfg: cfg, order: o, shelf: s, account: account, envelope: newEnvelope(cfg.ApplicantID)}
}

// sendBatch publishes a batch that is worth it, or with all whatever there is, and reports whether there was one.
func (d *delivery) sendBatch(ctx context.Context, all bool) (sent bool, err error) {
	full := len(d.order.ready) >= d.cfg.BatchObjects || d.order.readyBytes >= d.cfg.BatchBytes
	if len(d.order.ready) == 0 || (!all && !full) {
		return false, nil
	}
	d.batches++
	batch := d.order.take(d.cfg.BatchObjects, d.cfg.BatchBytes, d.batches)
	d.oldest = time.Time{}
	d.noteAge(time.Now())
	d.shelf.done = append(d.shelf.done, d.order.late...)
	d.order.late = nil
	if len(batch) == 0 {
		return true, nil
	}
	return true, d.publish(ctx, batch)
}

// sendFull publishes the batches that are full.
func (d *delivery) sendFull(ctx context.Context) error {
	for {
		if sent, err := d.sendBatch(ctx, false); err != nil || !sent {
			return err
		}
	}
}

// publish hands one batch over: to the deposits, and to the outlet when the queue has room and the work expects it.
func (d *delivery) publish(ctx context.Context, batch []*node) error {
	first := d.account.messages.Add(int64(len(batch))) - int64(len(batch)) + 1
	bytes := int64(0)
	var large []string
	for _, n := range batch {
		if err := d.shelf.load(n); err != nil {
			return err
		}
		d.fit(n)
		bytes += int64(d.envelope.messageSize(len(n.object.JSON)))
		if mayBeLarge(n.object.JSON) {
			id, _, _ := strings.Cut(n.object.ID, "\n") // an addition fails as its object
			large = append(large, id)
		}
	}
	if err := d.cfg.Gauge.Wait(ctx, bytes, d.settle); err != nil {
		return err
	}
	messages := d.messages(batch, first)
	if err := d.deposit(ctx, messages); err != nil {
		return err
	}
	if d.cfg.Outlet != nil {
		if err := d.cfg.Outlet.Begin(ctx, len(batch)); err != nil {
			return err
		}
	}
	if len(large) > 0 {
		d.cfg.NoteLarge(large)
	}
	for i, n := range batch {
		n.dropTexts()
		if err := d.send(ctx, n, messages[i]); err != nil {
			return fmt.Errorf("publish %s: %w", n.object.ID, err)
		}
		messages[i] = Message{}
		d.settle()
	}
	d.cfg.Sent(len(batch))
	return nil
}

// messages are those of a batch, which is sorted by level, counted from first on.
func (d *delivery) messages(batch []*node, first int64) []Message {
	messages := make([]Message, len(batch))
	for i, n := range batch {
		if i == 0 || n.level != batch[i-1].level {
			d.rank++
		}
		messages[i] = Message{Number: first + int64(i), ID: n.object.ID, Sequence: n.sequence, Rank: d.rank, Object: n.object.JSON}
	}
	return messages
}

// send hands one message to the outlet.
func (d *delivery) send(ctx context.Context, n *node, m Message) error {
	if d.cfg.Outlet == nil {
		d.confirms.add(n)
		return nil
	}
	m.Work = d.cfg.Books.Work()
	return d.cfg.Outlet.Send(ctx, m, func() { d.confirms.add(n) }, d.settle)
}

// fit gives a relation a type that OpenCTI takes between its ends, now that both are known.
func (d *delivery) fit(n *node) {
	if d.cfg.Fit == nil || n.object.Type != "relationship" {
		return
	}
	var from, to string
	if n.object, from, to = d.cfg.Fit(n.object, d.order.kindOf); to != "" {
		d.account.refitted.Add(1)
		d.cfg.Log.Debug("OpenCTI does not take this relation between its ends; it goes under another type",
			zap.String("object", n.object.ID), zap.String("type", from), zap.String("sent_as", to))
	}
}

// flush waits until all that was published is confirmed, and makes sure that the work that expects it is still there.
func (d *delivery) flush(ctx context.Context) error {
	if d.cfg.Outlet == nil {
		return nil
	}
	if err := d.cfg.Outlet.Flush(ctx, d.settle); err != nil {
		return fmt.Errorf("wait for the broker's confirms: %w", err)
	}
	d.settle()
	return d.cfg.Books.Check(ctx)
}

// settle settles what the broker has confirmed since it was last called.
func (d *delivery) settle() {
	d.settling = d.confirms.take(d.settling)
	for _, n := range d.settling {
		d.account.confirmed.Add(1)
		for older := n.older; older != nil; older = older.older {
			older.overtaken = true
		}
		if !n.overtaken {
			record := n.record(d.cfg.Run, d.order.trust.today)
			d.cfg.Index.Put(n.key, record)
			if n.object.AltID != "" {
				d.cfg.Index.Put(n.alt, record)
			}
			d.noteStated(n)
			d.order.noteAdded(n)
		}
		d.order.forget(n)
		d.shelf.delivered(n)
	}
	clear(d.settling)
}

// noteStated remembers what copies have added that went before: their record is overwritten.
func (d *delivery) noteStated(n *node) {
	added := func(part pipeline.Part, s pipeline.Stated, modified int64) {
		id := d.cfg.Mapping.AdditionID(n.object.ID, part, s)
		d.cfg.Index.Put(index.KeyOf(id), index.Record{Digest: 1, Modified: modified, Run: d.cfg.Run, Seq: 1, Day: d.order.trust.today, Addition: true})
	}
	for _, before := range n.before {
		s := before.stated
		if s.Labels != 0 && s.Labels != n.said.Labels {
			added(pipeline.Labels, s, 0)
		}
		if s.References != 0 && s.References != n.said.References {
			added(pipeline.References, s, 0)
		}
		if before.modified == n.microseconds() && s.Markings != 0 && s.Markings != n.said.Markings {
			added(pipeline.Markings, s, before.modified)
		}
	}
}

// noteAge starts the age of the batch that has begun.
func (d *delivery) noteAge(now time.Time) {
	if d.oldest.IsZero() && len(d.order.ready) > 0 {
		d.oldest = now
	}
}

// isOld reports that what has been placed should not wait for more to fill the batch.
func (d *delivery) isOld(now time.Time) bool {
	return !d.oldest.IsZero() && now.Sub(d.oldest) >= d.cfg.BatchAge
}

// confirms is where the publisher's goroutine leaves word of what the broker has taken, for the feeding goroutine to
// settle. It holds what is confirmed and not settled yet, which is at most the publisher's window.
type confirms struct {
	mu    sync.Mutex
	nodes []*node
}

// add notes a node that was confirmed. It never blocks.
func (c *confirms) add(n *node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes = append(c.nodes, n)
}

// take moves what was confirmed since the last call into a slice that is used again, in the order in which it was.
func (c *confirms) take(into []*node) []*node {
	c.mu.Lock()
	defer c.mu.Unlock()
	into = append(into[:0], c.nodes...)
	clear(c.nodes)
	c.nodes = c.nodes[:0]
	return into
}

// reportedWhole is the length from which on a worker says "Bundle too large" in place of the text of an object that it could
// not import.
const reportedWhole = 50_000

// mayBeLarge says that an object's text may be so long once a worker has written it: with a blank after each comma and colon,
// all that is not ASCII escaped, numbers in Python's spelling, and members of its own. It rather counts too much.
func mayBeLarge(text []byte) bool {
	const (
		workersOwn = 1000
		escaped    = 6 // of a character, 12 of one beyond the basic plane
	)
	if (escaped*len(text))+workersOwn < reportedWhole {
		return false
	}
	n := workersOwn + len(text)/20
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		i += size
		switch {
		case r == ',' || r == ':':
			n += 2
		case r < utf8.RuneSelf && r != 0x7f:
			n++
		case r > 0xffff:
			n += 2 * escaped
		default:
			n += escaped
		}
	}
	return n >= reportedWhole
}
