package emit

// What copies state that are not sent themselves, for greater ones took their place before they went.

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// outvoted is a copy that is not sent itself, for a greater one took its place before it went.
type outvoted struct {
	node     *node
	parts    []pipeline.Part
	receipts [][]*receipt // for each part
}

// outvotedFor is a node as a copy that is not sent itself, but has parts to add. Those wait for a part whose copies have stated it.
func (n *node) outvotedFor(parts []pipeline.Part) outvoted {
	receipts := make([][]*receipt, len(parts))
	for i, part := range parts {
		receipts[i] = n.claims.of(part)
	}
	left := *n
	left.state, left.claims = gone, claims{}
	return outvoted{&left, parts, receipts}
}

// takeOutvoted returns the copies that were outvoted since it was last called, and have something to add. Their texts may
// be on the shelf alone.
func (o *order) takeOutvoted() []outvoted {
	list := o.outvoted
	o.outvoted = nil
	return list
}

// add hands an object to the order, and after it what copies state that were outvoted by it before they went.
func (s *shelf) add(dataset string, object *pipeline.Object, r *receipt, now time.Time, incomplete bool) verdict {
	verdict := s.order.add(dataset, object, r, now, incomplete)
	for _, o := range s.order.takeOutvoted() {
		if err := s.load(o.node); err != nil {
			s.log.Warn("what a copy of an object adds to another is lost; CONNECTOR_REIMPORT=true brings it back", zap.String("object", o.node.object.ID), zap.Error(err))
			continue
		}
		for i, part := range o.parts {
			s.order.addParts(o.node, []pipeline.Part{part}, o.receipts[i], now)
			added := s.order.live[index.KeyOf(s.order.mapping.AdditionID(o.node.object.ID, part, o.node.object.Stated))]
			if o.node.shelved && added != nil {
				s.fragile = append(s.fragile, added)
			}
		}
	}
	return verdict
}

// saveFragile puts on the shelf what copies state whose texts it has, before anything takes their place there or lets them go: items
// count as kept for them. What the disk does not take goes on from memory.
func (s *shelf) saveFragile(ctx context.Context) error {
	if len(s.fragile) == 0 {
		return nil
	}
	fragile := slices.DeleteFunc(s.fragile, func(n *node) bool { return n.shelved || n.batch > 0 || s.order.live[n.key] != n })
	s.fragile = nil
	_, err := s.saveSome(ctx, fragile)
	return err
}
