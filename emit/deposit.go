package emit

import (
	"context"
	"fmt"
)

// Bundle is a part of a run in one piece. No two of its objects have the same id, and each comes after those that it refers to;
// what is not in it went in an earlier one, or in an earlier run.
type Bundle struct {
	// Number counts the bundles of the run from 1.
	Number int
	// Messages are those of the objects, with nothing but these and their ids.
	Messages []Message
}

// Text is the STIX bundle.
func (b Bundle) Text() []byte { return BundleOf(b.Messages) }

// Deposit takes whole bundles to where somebody else fetches them.
type Deposit interface {
	// Put returns when the bundle would survive a crash on both sides. An error ends the run.
	Put(ctx context.Context, b Bundle) error
}

// deposit puts a batch into each deposit.
func (d *delivery) deposit(ctx context.Context, batch []*node) error {
	if len(d.cfg.Deposits) == 0 {
		return nil
	}
	messages := make([]Message, len(batch))
	for i, n := range batch {
		messages[i] = Message{ID: n.object.ID, Object: n.object.JSON}
	}
	for len(messages) > 0 {
		n := distinct(messages)
		d.bundles++
		bundle := Bundle{Number: d.bundles, Messages: messages[:n]}
		for _, to := range d.cfg.Deposits {
			if err := to.Put(ctx, bundle); err != nil {
				return fmt.Errorf("put bundle %d of the run, of %d objects: %w", bundle.Number, n, err)
			}
		}
		messages = messages[n:]
	}
	return nil
}

// deposited settles a batch that goes nowhere else.
func (d *delivery) deposited(batch []*node) {
	for _, n := range batch {
		n.dropTexts()
		n.outstanding = 1
		d.settlements.add(settlement{node: n})
	}
	d.settle()
	d.cfg.Sent(len(batch))
}

// distinct is how many messages go before one about an object that they are about, too: of two objects with one id whoever reads a
// bundle keeps the last.
func distinct(messages []Message) int {
	seen := make(map[string]bool, len(messages))
	for i, m := range messages {
		if seen[m.ObjectID()] {
			return i
		}
		seen[m.ObjectID()] = true
	}
	return len(messages)
}
