package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/uuid"
)

// loadTables opens the tables in a folder that count: of nested ranges the widest, together without a gap. Those that were
// open before an error are returned beside it, to be closed.
func loadTables(ctx context.Context, dir string, id uuid.UUID) (tables []*table, err error) {
	ranges, err := tableRanges(dir)
	if err != nil {
		return nil, err
	}
	next := uint64(1)
	for _, r := range ranges {
		if r[1] < next {
			continue // within the one before
		}
		if err := ctx.Err(); err != nil {
			return tables, err
		}
		name := tableName(r[0], r[1])
		t, err := loadTable(filepath.Join(dir, name), id)
		if errors.Is(err, errForeign) {
			continue
		}
		if err != nil {
			return tables, fmt.Errorf("%s %w", name, err)
		}
		tables = append(tables, t)
		if t.first != next {
			return tables, fmt.Errorf("a file before %s is missing", name)
		}
		next = t.last + 1
	}
	return tables, nil
}

// tableRanges lists the ranges of the tables in a folder, by their beginning and the widest first.
func tableRanges(dir string) ([][2]uint64, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var ranges [][2]uint64
	for _, f := range files {
		if first, last, ok := parseTableName(f.Name()); ok {
			ranges = append(ranges, [2]uint64{first, last})
		}
	}
	slices.SortFunc(ranges, func(a, b [2]uint64) int {
		return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(b[1], a[1]))
	})
	return ranges, nil
}

func closeTables(tables []*table) {
	for _, t := range tables {
		t.file.Close()
	}
}
