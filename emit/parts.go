package emit

import (
	"context"
	"fmt"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// This file is about objects of more than one message: containers that refer to so many others that they do not fit into one. All
// that they refer to goes before them, so that their parts follow each other; the object is delivered when the last of them is
// confirmed, and a run that is cut short before sends all of them again.

// parts are the texts that an object goes in, mostly its own alone.
type parts struct {
	count int
	whole []byte                // of what goes in one
	text  func(part int) []byte // of each of more
}

// of is the text of a part.
func (p parts) of(part int) []byte {
	if p.text == nil {
		return p.whole
	}
	return p.text(part)
}

// partsOf divides what does not fit into a message. What cannot be divided goes as it is, for the broker to decide.
func (d *delivery) partsOf(n *node) parts {
	object := n.object
	if d.cfg.Outlet != nil && d.envelope.messageSize(len(object.JSON)) > d.limit() {
		if count, text := d.order.mapping.split(object, d.envelope.room(d.limit())); count > 1 {
			n.inParts = true
			return parts{count: count, text: text}
		}
	}
	return parts{count: 1, whole: object.JSON}
}

// limit is the size of the largest message that is sent: the setting's, or what the broker was found to take.
func (d *delivery) limit() int {
	if d.outletTakes > 0 {
		return min(d.cfg.MaxMessageBytes, d.outletTakes)
	}
	return d.cfg.MaxMessageBytes
}

// fits says whether an object can be sent, whole or in parts, as far as that is certain, and the size of its message.
func (d *delivery) fits(o *pipeline.Object) (size int, fits bool) {
	const uncertain = 400 // bytes, by which a message can be smaller than is said
	size = d.envelope.messageSize(len(o.JSON))
	if d.cfg.Outlet == nil { // what is deposited goes whole
		return size, true
	}
	if size <= d.cfg.MaxMessageBytes && (d.outletTakes == 0 || size-uncertain <= d.outletTakes) {
		return size, true
	}
	count, _ := d.order.mapping.split(*o, d.envelope.room(d.limit()))
	return size, count > 0
}

// sendParts publishes an object's messages, which the work expects.
func (d *delivery) sendParts(ctx context.Context, n *node, p parts) error {
	n.outstanding += p.count
	for part := range p.count {
		d.number++
		id := n.object.ID
		if part > 0 {
			id = fmt.Sprintf("%s\n%d", id, part)
		}
		m := Message{Work: d.cfg.Books.Work(), Number: d.number, ID: id, Sequence: n.sequence, Rank: d.rank, Object: p.of(part)}
		if part == p.count-1 {
			n.dropTexts()
			p = parts{count: p.count}
		}
		if m.Object == nil { // the mapping fails over it
			n.leftOut = true
			if err := d.cfg.Outlet.LeaveOut(ctx, ""); err != nil {
				return err
			}
			d.finish(n)
			continue
		}
		if err := d.cfg.Outlet.Send(ctx, m, n, d.meanwhile); err != nil {
			return fmt.Errorf("publish %s: %w", n.object.ID, err)
		}
		d.settle()
	}
	return nil
}
