package index

import (
	"context"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
)

// mergeRatio: a table is merged with the newer ones as soon as they hold 1/mergeRatio of its records. So there are few
// tables, superseded records never take more than a quarter of the disk, and a record is rewritten about
// log(objects/batch) times.
const mergeRatio = 3

// mergeTables merges tables whenever there is a new one, until ctx ends and a merge that is under way then is done.
func (x *Index) mergeTables(ctx context.Context) {
	for {
		select {
		case <-x.grown:
			x.mergeDue(x.life)
		case <-ctx.Done():
			return
		}
	}
}

func (x *Index) mergeDue(ctx context.Context) {
	for {
		more, err := x.mergeNewest(ctx)
		x.settleMerge(ctx, more, err)
		signal(x.merged)
		if err != nil || !more {
			return
		}
	}
}

// settleMerge notes how a merge went. Where there is no room left for tables, a merge that fails is a disk that fails.
func (x *Index) settleMerge(ctx context.Context, merged bool, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case err != nil && ctx.Err() == nil:
		x.health.failMerge(err, x.opts.Now())
		if len(x.tables) >= maxTables {
			x.health.fail(err, x.opts.Now())
		}
	case merged:
		x.health.unmerged = false
	}
}

// mergeNewest makes one table of the newest ones where they are due, and says whether it did.
func (x *Index) mergeNewest(ctx context.Context) (bool, error) {
	if err := acquire(ctx, x.merging); err != nil {
		return false, err
	}
	defer func() { <-x.merging }()

	x.mu.RLock()
	from := due(x.tables)
	inputs := slices.Clone(x.tables[from:])
	postponed := x.health.unmerged && x.opts.Now().Before(x.health.mergeAt)
	x.mu.RUnlock()
	if len(inputs) < 2 || postponed {
		return false, nil
	}
	newest := inputs[len(inputs)-1]
	h := header{id: newest.id, first: inputs[0].first, last: newest.last, total: newest.total}
	var sum uint64
	for _, t := range inputs {
		sum += t.count
	}
	out, err := writeTable(x.create, x.dir, h, int(sum), merge(ctx, inputs))
	if err != nil {
		return false, err
	}
	x.mu.Lock()
	// Only this function takes tables away, so the inputs still stand where they stood; newer ones may have come.
	x.tables = slices.Concat(x.tables[:from], []*table{out}, x.tables[from+len(inputs):])
	x.mu.Unlock()
	for _, t := range inputs {
		t.remove()
	}
	return true, nil
}

// due returns where the tables to merge begin: at the oldest that the newer ones together call for. One in between that
// they do not call for goes along, else a few small tables would keep all before them apart where merging has lagged
// behind. At the last table there is nothing to merge.
func due(tables []*table) int {
	from, newer := max(0, len(tables)-1), uint64(0)
	for i := from; i >= 0 && i < len(tables); i-- {
		if tables[i].count <= mergeRatio*newer {
			from = i
		}
		newer += tables[i].count
	}
	return from
}

// merge yields the records of tables, oldest first in the list, in the order of their keys, and of each key the newest.
func merge(ctx context.Context, tables []*table) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		var cursors []*cursor
		for _, t := range tables {
			if c := newCursor(t); c.advance() {
				cursors = append(cursors, c)
			}
		}
		for n := 0; len(cursors) > 0; n++ {
			if n%blockRecords == 0 && ctx.Err() != nil {
				yield(entry{}, ctx.Err())
				return
			}
			least, err := leastOf(cursors)
			if !yield(least, err) || err != nil {
				return
			}
			cursors = slices.DeleteFunc(cursors, func(c *cursor) bool { return c.head.Key == least.Key && !c.advance() })
		}
	}
}

// leastOf returns the newest record of the least key.
func leastOf(cursors []*cursor) (entry, error) {
	least := cursors[0]
	for _, c := range cursors { // the later the newer
		if c.err != nil {
			return entry{}, fmt.Errorf("merge index: %s %w", filepath.Base(c.table.path), c.err)
		}
		if compareKeys(c.head.Key, least.head.Key) <= 0 {
			least = c
		}
	}
	return least.head, nil
}
