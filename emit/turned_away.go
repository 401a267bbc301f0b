package emit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// This file is about messages that the outlet does not take because smaller ones are allowed there than CONNECTOR_MAX_MESSAGE_BYTES does.
// That is known once what lies behind such a message was published: what refers to the object there fails at OpenCTI for want of
// it, and is sent again, without it, by the run after that. What comes later waits for the object as for one that nothing brings.

// turnedAway is a message that the outlet does not take.
type turnedAway struct {
	node *node
	Refused
}

// turnAway takes note of a message that the outlet does not take.
func (d *delivery) turnAway(s settlement) {
	var tooLarge interface{ MostBytes() int }
	if errors.As(s.refused.Err, &tooLarge) && (d.outletTakes == 0 || tooLarge.MostBytes() < d.outletTakes) {
		d.outletTakes = max(1, tooLarge.MostBytes())
	}
	d.turnedAway = append(d.turnedAway, turnedAway{s.node, *s.refused})
}

// makeGood sends what the outlet did not take in parts of half the size and less, as far as there are any, and else leaves it out.
func (d *delivery) makeGood(ctx context.Context) error {
	for len(d.turnedAway) > 0 {
		t := d.turnedAway[0]
		d.turnedAway[0] = turnedAway{} // its text is large
		d.turnedAway = d.turnedAway[1:]
		n := t.node
		object := n.object
		object.JSON = t.Object
		count, text := d.order.mapping.split(object, d.envelope.room(min(d.limit(), t.Size/2)))
		if count < 2 {
			if err := d.leaveOut(ctx, t); err != nil {
				return err
			}
			continue
		}
		if err := d.cfg.Outlet.Instead(ctx, count); err != nil {
			return err
		}
		n.inParts = true
		n.outstanding--
		if err := d.sendParts(ctx, n, parts{count: count, text: text}); err != nil {
			return err
		}
	}
	d.turnedAway = nil
	return nil
}

// leaveOut gives up an object that the outlet does not take.
func (d *delivery) leaveOut(ctx context.Context, t turnedAway) error {
	what := ""
	if !t.node.leftOut {
		t.node.leftOut = true
		if named := d.account.refused.Add(1) <= pipeline.MaxNamed; named {
			object := t.node.object
			object.JSON = t.Object
			what = tooLarge(object, t.Size, min(d.limit(), t.Size-1), t.Remedy)
			d.cfg.Log.Warn("an object is not taken for its size, so it is left out; to import it "+t.Remedy,
				zap.String("object", nameable(object.ID)), zap.Int("bytes", t.Size), zap.Error(t.Err))
		}
	}
	if err := d.cfg.Outlet.LeaveOut(ctx, what); err != nil {
		return err
	}
	d.finish(t.node)
	return nil
}

// noteLeftOut forgets an object that was left out. The index knows that OpenCTI lacks it, unless it has an earlier version:
// what went before that was known, and refers to it, is sent again without.
func (d *delivery) noteLeftOut(n *node) {
	if _, found := d.cfg.Index.Lookup(n.key); !found && !n.overtaken {
		record := n.record(d.cfg.Run, d.order.trust.today)
		record.Mark = index.Lost
		d.cfg.Index.Put(n.key, record)
		if n.hasAlt() {
			d.cfg.Index.Put(n.alt, record)
		}
	}
	if n.lost != nil {
		n.lost.noted = nil
	}
	d.order.forget(n)
	d.shelf.delivered(n)
}

// refuse leaves out an object before it is placed, for no message may be so large.
func (d *delivery) refuse(item *pipeline.Item, object *pipeline.Object, size int) {
	if d.account.refused.Add(1) > pipeline.MaxNamed {
		return
	}
	d.unlisted = append(d.unlisted, tooLarge(*object, size, d.limit(), "raise CONNECTOR_MAX_MESSAGE_BYTES and RabbitMQ's max_message_size"))
	d.cfg.Log.Warn("an object is too large for the queue and is not sent; raise CONNECTOR_MAX_MESSAGE_BYTES and the broker's limit to import it",
		zap.String("dataset", item.Dataset), zap.String("item", item.ID), zap.String("object", object.ID),
		zap.Int("bytes", size), zap.Int("limit", d.limit()))
}

// list names in the work what was refused, if there is one: none is opened for that.
func (d *delivery) list(ctx context.Context) error {
	for len(d.unlisted) > 0 && d.cfg.Books.Work() != "" {
		what := d.unlisted[0]
		d.unlisted = d.unlisted[1:]
		if err := d.cfg.Books.List(ctx, what); err != nil {
			return err
		}
	}
	return nil
}

// tooLarge names an object that is left out, for people.
func tooLarge(o pipeline.Object, size, limit int, remedy string) string {
	const longest = 100
	var named struct {
		Name string `json:"name"`
	}
	_ = json.Unmarshal(o.JSON, &named) // a name that is no text is none
	if len(named.Name) > longest {
		named.Name = strings.ToValidUTF8(named.Name[:longest], "") + "…"
	}
	return fmt.Sprintf("%s %q, whose message would have %d bytes; at most %d are taken: %s",
		nameable(o.ID), named.Name, size, limit, remedy)
}

// nameable is the id of an object, or of what an addition adds to.
func nameable(id string) string {
	id, _, _ = strings.Cut(id, "\n")
	return id
}
