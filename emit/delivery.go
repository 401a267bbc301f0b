package emit

import (
	"context"
	"fmt"
	"sync"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// delivery cuts what the order has placed into batches, hands them over, and settles what is confirmed.
type delivery struct {
	cfg      Config
	order    *order
	shelf    *shelf
	account  *counters
	envelope envelope

	batches     int       // number of the last one
	bundles     int       // number of the last one that was deposited
	number      int64     // of the last message
	rank        int64     // likewise
	oldest      time.Time // when the oldest placed object was first seen; zero when there is none
	settlements settlements
	settling    []settlement // reused
	meanwhile   func()       // is settle

	outletTakes int          // the size of the largest message that the outlet takes, 0 as long as it has taken all
	turnedAway  []turnedAway // by the outlet, and not made good yet
	unlisted    []string     // what was refused, and is not named in the work yet
}

func newDelivery(cfg Config, o *order, s *shelf, account *counters) *delivery {
	d := &delivery{cfg: cfg, order: o, shelf: s, account: account, envelope: newEnvelope(cfg.ApplicantID)}
	d.meanwhile = d.settle
	return d
}

// sendBatch publishes a batch that is worth it, or with all whatever there is, and reports whether there was one.
func (d *delivery) sendBatch(ctx context.Context, all bool) (sent bool, err error) {
	if err := d.makeGood(ctx); err != nil {
		return false, err
	}
	full := len(d.order.ready) >= d.cfg.BatchObjects || d.order.readyBytes >= d.cfg.BatchBytes
	if len(d.order.ready) == 0 || (!all && !full) {
		return false, nil
	}
	d.batches++
	batch := d.order.take(d.cfg.BatchObjects, d.cfg.BatchBytes, d.batches)
	d.oldest = time.Time{}
	d.noteAge()
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
	batch, err := d.finished(batch)
	if err != nil || len(batch) == 0 {
		return err
	}
	d.account.messages.Add(int64(len(batch)))
	bytes, messages := int64(0), 0
	texts := make([]parts, len(batch))
	var large []string
	for i, n := range batch {
		n.settlements = &d.settlements
		bytes += int64(d.envelope.messageSize(len(n.object.JSON)))
		texts[i] = d.partsOf(n)
		messages += texts[i].count
		if mayBeLarge(n.object.JSON) {
			large = append(large, nameable(n.object.ID)) // an addition fails as its object
		}
	}
	if err := d.cfg.Gauge.Wait(ctx, bytes, d.meanwhile); err != nil {
		return err
	}
	if err := d.deposit(ctx, batch); err != nil {
		return err
	}
	if d.cfg.Outlet == nil {
		d.deposited(batch)
		return nil
	}
	if err := d.cfg.Outlet.Begin(ctx, messages); err != nil {
		return err
	}
	if len(large) > 0 {
		d.cfg.NoteLarge(large)
	}
	for i, n := range batch {
		if i == 0 || n.level != batch[i-1].level {
			d.rank++
		}
		p := texts[i]
		texts[i] = parts{} // lets go of the text
		if err := d.sendParts(ctx, n, p); err != nil {
			return err
		}
	}
	d.cfg.Sent(len(batch))
	return nil
}

// finished brings a batch's texts into the form in which they go. What the mapping fails over is left out, as what is too large: what
// refers to it, and goes all the same, is sent again without by the run after OpenCTI has failed over that.
func (d *delivery) finished(batch []*node) (sound []*node, err error) {
	sound = batch[:0]
	for _, n := range batch {
		if err := d.shelf.load(n); err != nil {
			return nil, err
		}
		d.order.yieldToAdded(n)
		d.fit(n)
		if n.broken {
			d.noteLeftOut(n)
			continue
		}
		sound = append(sound, n)
	}
	return sound, nil
}

// fit gives a relation a type that OpenCTI takes between its ends, now that both are known.
func (d *delivery) fit(n *node) {
	fitted, from, to, sound := d.order.mapping.fitted(n.object, d.order.kindOf)
	if !sound {
		n.broken = true
		return
	}
	if n.object = fitted; to != "" {
		d.account.refitted.Add(1)
		d.cfg.Log.Debug("OpenCTI does not take this relation between its ends; it goes under another type",
			zap.String("object", n.object.ID), zap.String("type", from), zap.String("sent_as", to))
	}
}

// flush waits until all that was published is settled, and makes sure that the work that expects it is still there.
func (d *delivery) flush(ctx context.Context) error {
	for d.cfg.Outlet != nil {
		if err := d.cfg.Outlet.Flush(ctx, d.meanwhile); err != nil {
			return fmt.Errorf("wait for the broker's confirms: %w", err)
		}
		d.settle()
		if len(d.turnedAway) == 0 {
			break
		}
		if err := d.makeGood(ctx); err != nil {
			return err
		}
	}
	if err := d.list(ctx); err != nil {
		return err
	}
	return d.cfg.Books.Check(ctx)
}

// settle settles what was confirmed since it was last called, and takes note of what was refused.
func (d *delivery) settle() {
	d.settling = d.settlements.take(d.settling)
	for _, s := range d.settling {
		if s.refused != nil {
			d.turnAway(s)
		} else {
			d.finish(s.node)
		}
	}
	clear(d.settling)
}

// finish ends one message of an object, and the object's way with the last of them.
func (d *delivery) finish(n *node) {
	switch n.outstanding--; {
	case n.outstanding > 0:
	case n.leftOut:
		d.noteLeftOut(n)
	default:
		d.noteDelivered(n)
	}
}

// noteDelivered settles an object of which all was confirmed.
func (d *delivery) noteDelivered(n *node) {
	d.account.confirmed.Add(1)
	for older := n.older; older != nil; older = older.older {
		older.overtaken = true
	}
	if !n.overtaken {
		record := n.record(d.cfg.Run, d.order.trust.today)
		d.cfg.Index.Put(n.key, record)
		if n.hasAlt() {
			d.cfg.Index.Put(n.alt, record)
		}
		d.noteStated(n)
		d.order.noteAdded(n)
	}
	d.order.forget(n)
	d.shelf.delivered(n)
}

// noteStated remembers what copies have added that went before: their record is overwritten.
func (d *delivery) noteStated(n *node) {
	added := func(part pipeline.Part, s pipeline.Stated, modified int64) {
		id := d.cfg.Mapping.AdditionID(n.object.ID, part, s)
		d.cfg.Index.Put(index.KeyOf(id), index.Record{Digest: 1, Modified: modified, Run: d.cfg.Run, Seq: 1, Day: d.order.trust.today, Addition: true})
	}
	for _, before := range n.takePast() {
		s := before.stated
		if s.Labels != 0 && s.Labels != n.said.Labels {
			added(pipeline.Labels, s, 0)
		}
		if s.References != 0 && s.References != n.said.References {
			added(pipeline.References, s, 0)
		}
		if before.modified == n.microseconds() && s.Markings != 0 && s.Markings != n.object.Stated.Markings {
			added(pipeline.Markings, s, before.modified)
		}
	}
}

// noteAge starts the age of the batch that has begun.
func (d *delivery) noteAge() {
	if d.oldest.IsZero() && len(d.order.ready) > 0 {
		d.oldest = time.Now()
	}
}

// isOld reports that what has been placed should not wait for more to fill the batch.
func (d *delivery) isOld(now time.Time) bool {
	return !d.oldest.IsZero() && now.Sub(d.oldest) >= d.cfg.BatchAge
}

// settlement is what became of a message: it is queued for good, or was refused for good.
type settlement struct {
	node    *node
	refused *Refused // nil for one that is queued
}

// Settled leaves word of what became of one of the node's messages.
func (n *node) Settled(refused *Refused) { n.settlements.add(settlement{n, refused}) }

// settlements is where the publisher's goroutine leaves word of what became of messages, for the feeding goroutine to
// settle. It holds what is not settled yet, which is at most the publisher's window.
type settlements struct {
	mu   sync.Mutex
	list []settlement
}

// add notes what became of a message. It never blocks.
func (q *settlements) add(s settlement) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.list = append(q.list, s)
}

// take moves what was noted since the last call into a slice that is used again, in the order in which it was.
func (q *settlements) take(into []settlement) []settlement {
	q.mu.Lock()
	defer q.mu.Unlock()
	into = append(into[:0], q.list...)
	clear(q.list)
	q.list = q.list[:0]
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
