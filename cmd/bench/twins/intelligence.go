package twins

import (
	"bytes"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// Intelligence is what the simulated ThreatMatch holds: a folder, or what is generated.
type Intelligence struct {
	Folder string // "" for generated intelligence
	Shape  threatmatchtest.Shape
	// ObjectSize is how many bytes an object of a profile has on average; 0 leaves the generated ones, of some 900, as they are.
	ObjectSize int
	// Fresh has everything made when it is asked for, and not beforehand: a million objects would take more than a gigabyte.
	Fresh bool
}

// Day is the first day of all that there is, as THREATMATCH_IMPORT_FROM_DATE takes it.
func (i Intelligence) Day() string {
	if i.Folder != "" {
		return "2000-01-01"
	}
	return i.Shape.Start.UTC().AddDate(0, 0, -1).Format(time.DateOnly)
}

func (i Intelligence) data() (threatmatchtest.Data, error) {
	if i.Folder != "" {
		return threatmatchtest.Load(i.Folder)
	}
	generated := threatmatchtest.Generate(i.Shape)
	if i.Fresh {
		return generated, nil
	}
	return keep(generated, i.ObjectSize)
}

// datasets are those with items.
var datasets = []string{"profiles", "alerts", "reports"}

// kept is intelligence that was made beforehand.
type kept struct {
	threatmatchtest.Data // for lists, which are few
	items                map[string][]byte
	indicators           [][]byte // in order of modified
	modified             []int64  // theirs, in ns since 1970
}

// keep makes all that a generator has.
func keep(from *threatmatchtest.Generated, objectSize int) (*kept, error) {
	k := &kept{Data: from, items: map[string][]byte{}}
	for _, set := range datasets {
		for id := range from.IDs(set, time.Time{}) {
			name := strconv.FormatInt(id, 10)
			objects, _ := from.Item(set, name)
			if set == "profiles" && objectSize > 0 {
				objects = lengthened(objects, objectSize)
			}
			k.items[set+"/"+name] = objects
		}
	}
	k.indicators, _ = from.Indicators(time.Time{}, true, 1<<31-1)
	for _, object := range k.indicators {
		var has struct {
			Modified string `json:"modified"`
		}
		if err := json.Unmarshal(object, &has); err != nil {
			return nil, fmt.Errorf("read a generated indicator: %w", err)
		}
		at, ok := pipeline.ParseTime(has.Modified)
		if !ok {
			return nil, fmt.Errorf("read a generated indicator: %q is no time", has.Modified)
		}
		k.modified = append(k.modified, at.UnixNano())
	}
	return k, nil
}

// Item implements [threatmatchtest.Data].
func (k *kept) Item(dataset, id string) ([]byte, bool) {
	objects, ok := k.items[dataset+"/"+id]
	return objects, ok
}

// IDs implements [threatmatchtest.Data].
func (k *kept) IDs(dataset string, since time.Time) iter.Seq[int64] {
	return k.Data.IDs(dataset, since)
}

// Indicators implements [threatmatchtest.Data].
func (k *kept) Indicators(after time.Time, inclusive bool, limit int) ([][]byte, bool) {
	bound := int64(0)
	if after.Year() > 1970 {
		bound = after.UnixNano()
	}
	if !inclusive {
		bound++
	}
	first, _ := slices.BinarySearch(k.modified, bound)
	last := first + max(0, min(limit, len(k.indicators)-first))
	return k.indicators[first:last], last < len(k.indicators)
}

// descriptions finds the descriptions of objects.
var descriptions = regexp.MustCompile(`"description":"((?:[^"\\]|\\.)*)"`)

// lengthened repeats the descriptions of an item's objects so often that an object has about a size on average.
func lengthened(objects []byte, size int) []byte {
	all, described := bytes.Count(objects, []byte(`{"type":"`)), 0
	for _, at := range descriptions.FindAllSubmatchIndex(objects, -1) {
		described += at[3] - at[2]
	}
	more := all*size - len(objects)
	if described == 0 || more <= 0 {
		return objects
	}
	times := 1 + (more+described/2)/described
	return descriptions.ReplaceAllFunc(objects, func(whole []byte) []byte {
		text := descriptions.FindSubmatch(whole)[1]
		return slices.Concat([]byte(`"description":"`), bytes.Repeat(text, times), []byte(`"`))
	})
}
