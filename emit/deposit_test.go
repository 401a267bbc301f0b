package emit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// chest is a deposit in memory; after so many bundles it is full.
type chest struct {
	room    int
	bundles [][]string // ids
}

var errFull = errors.New("no space left on device")

func (c *chest) Put(_ context.Context, b Bundle) error {
	if len(c.bundles) == c.room {
		return errFull
	}
	var read struct{ Objects []struct{ ID string } }
	if err := json.Unmarshal(b.Text, &read); err != nil || b.Number != len(c.bundles)+1 || b.Objects != len(read.Objects) {
		return fmt.Errorf("bundle %d of %d objects: %w: %s", b.Number, b.Objects, err, b.Text)
	}
	var ids []string
	for _, o := range read.Objects {
		ids = append(ids, o.ID)
	}
	c.bundles = append(c.bundles, ids)
	return nil
}

func TestABundleThatIsDepositedHasNoIDTwice(t *testing.T) {
	c := &chest{room: 10}
	r := newRig(1, memoryIndex{}, newMemoryStore(), func(cfg *Config) { cfg.Deposits = []Deposit{c} })
	var batch []*node
	for _, id := range []string{"a", "b", "a\nlabels", "c", "c\nlabels", "c\nreferences", "d"} {
		object, _, _ := strings.Cut(id, "\n")
		batch = append(batch, &node{object: pipeline.Object{ID: id, JSON: fmt.Appendf(nil, `{"id":%q}`, object)}})
	}
	if err := r.delivery.deposit(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(c.bundles); got != "[[a b] [a c] [c] [c d]]" {
		t.Errorf("the bundles hold %s", got)
	}
}

func TestNothingCountsAsDeliveredThatADepositLacks(t *testing.T) {
	for _, queued := range []bool{true, false} {
		c := &chest{room: 1}
		var q queue
		r := newRig(1, memoryIndex{}, newMemoryStore(), func(cfg *Config) {
			if queued {
				*cfg = toQueue(&q, *cfg)
			}
			cfg.Deposits, cfg.BatchObjects = []Deposit{c}, 2
		})
		var objects []pipeline.Object
		for i := range 5 {
			objects = append(objects, object(t, fmt.Sprintf(`{"type":"tool","id":"tool--%d","name":"x"}`, i)))
		}
		var outcomes []pipeline.Outcome
		err := r.Put(t.Context(), pipeline.Item{}, objects, func(o pipeline.Outcome) { outcomes = append(outcomes, o) })
		if !errors.Is(err, errFull) || slices.Contains(outcomes, pipeline.Delivered) || r.Account().Confirmed != 2 || len(r.index) != 2 {
			t.Errorf("queued %t: %v, %v, %d confirmed, %d in the index", queued, err, outcomes, r.Account().Confirmed, len(r.index))
		}
		if queued && len(q.messages) != 2 || !queued && len(r.works.expected) > 0 {
			t.Errorf("queued %t: %d messages, expected %v", queued, len(q.messages), r.works.expected)
		}
	}
}

func TestWhatGoesNowhereButIntoADepositCountsOnceItIsThere(t *testing.T) {
	c := &chest{room: 10}
	r := newRig(1, memoryIndex{}, newMemoryStore(), func(cfg *Config) { cfg.Deposits = []Deposit{c} })
	outcomes := r.put(t, object(t, toolText))
	r.finish(t, pipeline.Complete)
	if !isDelivered(outcomes) || len(c.bundles) != 1 || r.works.opened > 0 {
		t.Errorf("%v, %v, %d works", *outcomes, c.bundles, r.works.opened)
	}
}
