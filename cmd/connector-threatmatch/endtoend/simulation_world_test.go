package endtoend

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
	"github.com/opencti-connectors/threatmatch/transform"
)

// simulatedWorld is what ThreatMatch holds in a simulation: a small generated world that can change.
type simulatedWorld struct {
	*model
	data   threatmatchtest.Folder
	mapper *transform.Transformer
	// items and changes belong to the one goroutine that changes the world.
	items   []simulatedItem
	changes int
}

type simulatedItem struct {
	dataset string
	id      int64
}

// newSimulatedWorld copies a small generated world into a folder that can change.
func newSimulatedWorld(t *testing.T, seed uint64) *simulatedWorld {
	mapper, err := transform.New(defaultMapping)
	must(t, err)
	w := &simulatedWorld{model: newModel(), mapper: mapper}
	generated := threatmatchtest.Generate(threatmatchtest.Shape{Seed: seed, Profiles: 6, Alerts: 5, Indicators: 40, TieGroup: 3,
		Start: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), Span: 90 * 24 * time.Hour})
	for _, name := range []string{fetch.ProfilesDataset, fetch.AlertsDataset} {
		for id := range generated.IDs(name, time.Time{}) {
			text, _ := generated.Item(name, strconv.FormatInt(id, 10))
			w.items = append(w.items, simulatedItem{name, id})
			w.put(t, name, id, time.Date(1999, 6, 1, 0, 0, int(id%60), 0, time.UTC), text)
		}
	}
	indicators, _ := generated.Indicators(time.Time{}, true, 1000)
	for _, text := range indicators {
		w.putIndicator(t, text)
	}
	return w
}

func (w *simulatedWorld) put(t *testing.T, dataset string, number int64, date time.Time, text []byte) {
	id := strconv.FormatInt(number, 10)
	must(t, w.data.Put(dataset, number, date, text))
	w.add(entry{dataset: dataset, id: id, date: date, objects: mapped(w.mapper, dataset, id, text)})
}

func (w *simulatedWorld) putIndicator(t *testing.T, text []byte) {
	must(t, w.data.PutIndicator(text))
	objects := mapped(w.mapper, fetch.IndicatorsDataset, "", text)
	own := objects[len(objects)-1]
	w.add(entry{dataset: fetch.IndicatorsDataset, id: own.id, date: own.modified, objects: objects})
}

// change brings a new indicator, or a new object in an item that was there.
func (w *simulatedWorld) change(t *testing.T, r *rand.Rand) {
	w.changes++
	now := time.Now().UTC()
	id := fmt.Sprintf("%08d-0000-4000-8000-%012d", w.changes, r.IntN(1_000_000))
	if r.IntN(2) == 0 {
		w.putIndicator(t, fmt.Appendf(nil, `{"type":"indicator","id":"indicator--%s","modified":%q,"pattern":"[x:y='z']"}`, id, now.Format("2006-01-02T15:04:05.000Z")))
	} else {
		item := w.items[r.IntN(len(w.items))]
		text, _ := w.data.Item(item.dataset, strconv.FormatInt(item.id, 10))
		changed := strings.TrimSuffix(string(text), "]") + fmt.Sprintf(`,{"type":"malware","id":"malware--%s","modified":%q,"name":"new","is_family":false}]`, id, now.Format(time.RFC3339))
		w.put(t, item.dataset, item.id, now, []byte(changed))
	}
}

// simulatedQueue is what has arrived at OpenCTI and still counts, and all that ever came.
type simulatedQueue struct {
	t *testing.T
	arrivals
	counting sync.Mutex // guards all below
	total    int
	byWork   map[string]map[string]bool // the different messages of each work
	gone     map[string]bool            // works that were deleted: workers drop their messages
}

func newSimulatedQueue(t *testing.T) *simulatedQueue {
	return &simulatedQueue{t: t, byWork: map[string]map[string]bool{}, gone: map[string]bool{}}
}

// arrive takes a message as OpenCTI's workers do.
func (q *simulatedQueue) arrive(message rabbitmqtest.Message) {
	m, err := readDelivery(message.Body)
	if err != nil {
		q.t.Error(err)
		return
	}
	q.counting.Lock()
	defer q.counting.Unlock()
	q.total++
	if q.byWork[m.Work] == nil {
		q.byWork[m.Work] = map[string]bool{}
	}
	q.byWork[m.Work][m.ID+modifiedOf(m).String()] = true
	if !q.gone[m.Work] {
		q.note(m)
	}
}

// deleteWork drops what has come of a work, and what comes of it from now on.
func (q *simulatedQueue) deleteWork(work string) {
	q.counting.Lock()
	defer q.counting.Unlock()
	q.gone[work] = true
	q.dropWork(work)
}

// sent is how many messages have come.
func (q *simulatedQueue) sent() int {
	q.counting.Lock()
	defer q.counting.Unlock()
	return q.total
}

// different is how many different messages of a work have come.
func (q *simulatedQueue) different(work string) int {
	q.counting.Lock()
	defer q.counting.Unlock()
	return len(q.byWork[work])
}

// checkComplete holds what arrived against what the world holds.
func (q *simulatedQueue) checkComplete(w *simulatedWorld) {
	for id, want := range w.expected() {
		switch {
		case !q.any(id):
			q.t.Errorf("%s is missing", id)
		case !q.hasVersion(id, want):
			q.t.Errorf("%s is there only in an older version than %v", id, want)
		}
	}
}
