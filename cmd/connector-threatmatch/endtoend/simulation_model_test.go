package endtoend

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/transform"
)

// simulatedWorld is what ThreatMatch holds, and the model of what OpenCTI must receive of it.
type simulatedWorld struct {
	data        threatmatchtest.Folder
	transformer *transform.Transformer

	mu      sync.Mutex
	items   []*worldItem
	changes int
}

// worldItem is an item in its present version.
type worldItem struct {
	dataset, id string
	date        time.Time // of its last change
	objects     []pipeline.Object
	expected    []string // ids of the objects that must arrive
}

// newSimulatedWorld copies a small generated world into a folder that can change.
func newSimulatedWorld(t *testing.T, seed uint64) *simulatedWorld {
	transformer, err := transform.New(transform.Config{TLP: "amber", ThreatActorAsIntrusionSet: true, Descriptions: transform.Markdown})
	must(t, err)
	w := &simulatedWorld{transformer: transformer}
	generated := threatmatchtest.Generate(threatmatchtest.Shape{Seed: seed, Profiles: 6, Alerts: 5, Indicators: 40, TieGroup: 3,
		Start: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), Span: 90 * 24 * time.Hour})
	for _, name := range []string{fetch.ProfilesDataset, fetch.AlertsDataset} {
		for id := range generated.IDs(name, time.Time{}) {
			text, _ := generated.Item(name, strconv.FormatInt(id, 10))
			w.put(t, name, id, time.Date(1999, 6, 1, 0, 0, int(id%60), 0, time.UTC), text)
		}
	}
	indicators, _ := generated.Indicators(time.Time{}, true, 1000)
	for _, text := range indicators {
		w.putIndicator(t, text)
	}
	w.settle()
	return w
}

func (w *simulatedWorld) put(t *testing.T, dataset string, id int64, date time.Time, text []byte) {
	must(t, w.data.Put(dataset, id, date, text))
	w.add(&worldItem{dataset: dataset, id: strconv.FormatInt(id, 10), date: date}, text)
}

func (w *simulatedWorld) putIndicator(t *testing.T, text []byte) {
	must(t, w.data.PutIndicator(text))
	item := &worldItem{dataset: fetch.IndicatorsDataset}
	w.add(item, text)
	own := item.objects[len(item.objects)-1]
	item.id, item.date = own.ID, own.Modified
}

func (w *simulatedWorld) add(item *worldItem, text []byte) {
	objects, _ := w.transformer.Transform(pipeline.Item{Dataset: item.dataset, ID: item.id, Data: text})
	item.objects = objects
	if item.dataset != fetch.IndicatorsDataset {
		w.items = slices.DeleteFunc(w.items, func(i *worldItem) bool { return i.dataset == item.dataset && i.id == item.id })
	}
	w.items = append(w.items, item)
}

// settle works out which objects must arrive: all but relations of which nothing brings an end.
func (w *simulatedWorld) settle() {
	objects := map[string]pipeline.Object{}
	for _, item := range w.items {
		for _, o := range item.objects {
			objects[o.ID] = o
		}
	}
	for changed := true; changed; {
		changed = false
		for id, o := range objects {
			if _, ok := transform.WithoutRefs(o, func(ref string) bool { _, found := objects[ref]; return !found }); !ok {
				delete(objects, id)
				changed = true
			}
		}
	}
	for _, item := range w.items {
		item.expected = nil
		for _, o := range item.objects {
			if _, found := objects[o.ID]; found {
				item.expected = append(item.expected, o.ID)
			}
		}
	}
}

// heldBack reports whether an object is a relation of which an end has not arrived, because the item that brings it
// failed or is still to come: the connector keeps it on its disk.
func (w *simulatedWorld) heldBack(id string, arrived func(string) bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, item := range w.items {
		for _, o := range item.objects {
			if o.ID == id {
				_, ok := transform.WithoutRefs(o, func(ref string) bool { return !arrived(ref) })
				return !ok
			}
		}
	}
	return false
}

// change brings a new indicator, or a new object in an item that was there.
func (w *simulatedWorld) change(t *testing.T, r *rand.Rand) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changes++
	now := time.Now().UTC()
	id := fmt.Sprintf("%08d-0000-4000-8000-%012d", w.changes, r.IntN(1_000_000))
	if r.IntN(2) == 0 {
		w.putIndicator(t, fmt.Appendf(nil, `{"type":"indicator","id":"indicator--%s","modified":%q,"pattern":"[x:y='z']"}`, id, now.Format("2006-01-02T15:04:05.000Z")))
	} else {
		item := w.items[r.IntN(len(w.items))]
		for item.dataset == fetch.IndicatorsDataset {
			item = w.items[r.IntN(len(w.items))]
		}
		text, _ := w.data.Item(item.dataset, item.id)
		changed := strings.TrimSuffix(string(text), "]") + fmt.Sprintf(`,{"type":"malware","id":"malware--%s","modified":%q,"name":"new","is_family":false}]`, id, now.Format(time.RFC3339))
		number, _ := strconv.ParseInt(item.id, 10, 64)
		w.put(t, item.dataset, number, now, []byte(changed))
	}
	w.settle()
}

// claimed lists the items of which a cursor says that they were delivered in their present version.
func (w *simulatedWorld) claimed(dataset string, c pipeline.Cursor) []worldItem {
	w.mu.Lock()
	defer w.mu.Unlock()
	var claimed []worldItem
	for _, item := range w.items {
		if item.dataset != dataset || slices.Contains(c.Failed, item.id) || slices.Contains(c.Gone, item.id) {
			continue
		}
		before := item.date.Before(c.Since.Truncate(time.Minute))
		if c.Pass != nil && item.date.Before(c.Pass.Started) && c.Pass.After != "" {
			after := c.Pass.After
			if c.Pass.KeptFrom != nil {
				after = *c.Pass.KeptFrom
			}
			if dataset == fetch.IndicatorsDataset {
				bound, err := time.Parse(time.RFC3339Nano, positionTime(after))
				before = before || (err == nil && item.date.Before(bound))
			} else {
				reached, _ := strconv.Atoi(after)
				number, _ := strconv.Atoi(item.id)
				before = before || number <= reached
			}
		}
		if before {
			claimed = append(claimed, *item)
		}
	}
	return claimed
}

// positionTime is the time in an indicator position, which may say more behind it.
func positionTime(after string) string {
	text, _, _ := strings.Cut(after, " ")
	return text
}

func (w *simulatedWorld) expected() map[string]time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	newest := map[string]time.Time{}
	for _, item := range w.items {
		for _, o := range item.objects {
			if slices.Contains(item.expected, o.ID) && !o.Modified.Before(newest[o.ID]) {
				newest[o.ID] = o.Modified
			}
		}
	}
	return newest
}

// simulatedQueue is what has arrived at OpenCTI and still counts.
type simulatedQueue struct {
	mu     sync.Mutex
	total  int
	byWork map[string]map[string]bool // the different messages of each work
	early  []string
	gone   map[string]bool // works that were deleted: workers drop their messages
	ids    map[string][]arrivedVersion
}

type arrivedVersion struct {
	work     string
	modified time.Time
}

func newSimulatedQueue() *simulatedQueue {
	q := &simulatedQueue{gone: map[string]bool{}}
	q.forget()
	return q
}

// forget is what a reset by an operator does to the queue.
func (q *simulatedQueue) forget() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ids = map[string][]arrivedVersion{}
	if q.byWork == nil {
		q.byWork = map[string]map[string]bool{}
	}
}

func (q *simulatedQueue) arrive(m rabbitmqtest.Message) {
	object, work := readMessage(m.Body)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.total++
	if q.byWork[work] == nil {
		q.byWork[work] = map[string]bool{}
	}
	id, _ := object["id"].(string)
	text, _ := object["modified"].(string)
	q.byWork[work][id+text] = true
	if q.gone[work] {
		return
	}
	for _, ref := range referencesOf(object) {
		if len(q.ids[ref]) == 0 {
			q.early = append(q.early, fmt.Sprintf("%s before %s", id, ref))
		}
	}
	modified, _ := time.Parse(time.RFC3339Nano, text)
	q.ids[id] = append(q.ids[id], arrivedVersion{work, modified})
}

// dropWork is what the workers do with the messages of a work that was deleted.
func (q *simulatedQueue) dropWork(work string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.gone[work] = true
	for id, versions := range q.ids {
		q.ids[id] = slices.DeleteFunc(versions, func(v arrivedVersion) bool { return v.work == work })
	}
}

func (q *simulatedQueue) has(id string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.ids[id]) > 0
}

// checkComplete holds what arrived against what the world holds.
func (q *simulatedQueue) checkComplete(t *testing.T, w *simulatedWorld) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for id, want := range w.expected() {
		versions := q.ids[id]
		if len(versions) == 0 {
			t.Errorf("%s is missing", id)
			continue
		}
		if !slices.ContainsFunc(versions, func(v arrivedVersion) bool { return !v.modified.Before(want.Truncate(time.Microsecond)) }) {
			t.Errorf("%s is there only in an older version than %v", id, want)
		}
	}
}

func readMessage(body []byte) (object map[string]any, work string) {
	var m struct {
		Content []byte `json:"content"`
		Work    string `json:"work_id"`
	}
	if err := json.Unmarshal(body, &m); err != nil {
		panic(err)
	}
	var bundle struct{ Objects []map[string]any }
	if err := json.Unmarshal(m.Content, &bundle); err != nil {
		panic(err)
	}
	return bundle.Objects[0], m.Work
}

func referencesOf(object map[string]any) []string {
	var refs []string
	for key, value := range object {
		if s, ok := value.(string); ok && strings.HasSuffix(key, "_ref") {
			refs = append(refs, s)
		}
		if list, ok := value.([]any); ok && strings.HasSuffix(key, "_refs") {
			for _, r := range list {
				refs = append(refs, r.(string))
			}
		}
	}
	return refs
}
