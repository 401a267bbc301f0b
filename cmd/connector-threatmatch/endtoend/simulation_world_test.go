package endtoend

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/fetch"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
	"github.com/opencti-connectors/threatmatch/transform"
)

// simulatedWorld is what ThreatMatch holds in a simulation: a small generated world that can change.
type simulatedWorld struct {
	*model
	data   threatmatchtest.Folder
	mapper *transform.Transformer
	// All below belong to the one goroutine that changes the world.
	items   []simulatedItem
	changes int
	served  []served
}

// served is an item as it was served, with what the mapping makes of it.
type served struct {
	dataset, id string
	text        []byte
	objects     []object
}

type simulatedItem struct {
	dataset string
	id      int64
}

// foreign are objects that ThreatMatch refers to and does not bring: OpenCTI has them of another connector, or has not.
var foreign = []string{
	foreignMarking, foreignAuthor,
	"marking-definition--11111111-1111-4111-8111-111111111112",
	"identity--22222222-2222-4222-8222-222222222223",
	"malware--33333333-3333-4333-8333-333333333333",
	"malware--33333333-3333-4333-8333-333333333334",
}

// newSimulatedWorld copies a small generated world into a folder that can change, and adds what refers to foreign objects.
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
	r := rand.New(rand.NewPCG(seed, 4))
	for i := range 3 {
		date := time.Date(1999, 6, 2, 0, 0, i, 0, time.UTC)
		item := simulatedItem{fetch.ProfilesDataset, 20_000 + int64(i)}
		w.items = append(w.items, item)
		w.put(t, item.dataset, item.id, date, []byte("["+abroad(r, fmt.Sprintf("00000000-0000-4000-8000-%012d", i), date)+"]"))
	}
	return w
}

// abroad is a piece of malware with an author, a marking and a relation that ThreatMatch does not bring.
func abroad(r *rand.Rand, uuid string, date time.Time) string {
	at := date.Format(time.RFC3339)
	return fmt.Sprintf(`{"type":"malware","spec_version":"2.1","id":"malware--%[1]s","created":%[2]q,"modified":%[2]q,"name":"m","is_family":false,"created_by_ref":%[3]q,"object_marking_refs":[%[4]q]},`+
		`{"type":"relationship","spec_version":"2.1","id":"relationship--%[1]s","created":%[2]q,"modified":%[2]q,"relationship_type":"related-to","source_ref":"malware--%[1]s","target_ref":%[5]q}`,
		uuid, at, foreign[1+2*r.IntN(2)], foreign[2*r.IntN(2)], foreign[4+r.IntN(2)])
}

func (w *simulatedWorld) put(t *testing.T, dataset string, number int64, date time.Time, text []byte) {
	w.putLate(t, dataset, number, date, 0, text)
}

// putLate puts an item that can be seen from a moment on, and says that it changed some time before.
func (w *simulatedWorld) putLate(t *testing.T, dataset string, number int64, date time.Time, late time.Duration, text []byte) {
	id := strconv.FormatInt(number, 10)
	must(t, w.data.Put(dataset, number, date.Add(-late), text))
	again := slices.IndexFunc(w.served, func(s served) bool { return s.dataset == dataset && s.id == id && bytes.Equal(s.text, text) })
	if again < 0 {
		again = len(w.served)
		w.served = append(w.served, served{dataset, id, text, mapped(w.mapper, dataset, id, text)})
	}
	w.add(entry{dataset: dataset, id: id, date: date, objects: w.served[again].objects})
}

func (w *simulatedWorld) putIndicator(t *testing.T, text []byte) {
	must(t, w.data.PutIndicator(text))
	objects := mapped(w.mapper, fetch.IndicatorsDataset, "", text)
	own := objects[len(objects)-1]
	w.add(entry{dataset: fetch.IndicatorsDataset, id: own.id, date: own.modified, objects: objects})
}

// change brings a new indicator, or an item that was there once more: with new objects, with newer versions of some, or as
// it was.
func (w *simulatedWorld) change(t *testing.T, r *rand.Rand) {
	w.changes++
	now := time.Now().UTC()
	id := fmt.Sprintf("%08d-0000-4000-8000-%012d", w.changes, r.IntN(1_000_000))
	item := w.items[r.IntN(len(w.items))]
	text, _ := w.data.Item(item.dataset, strconv.FormatInt(item.id, 10))
	more := ""
	switch r.IntN(6) {
	case 0:
		w.putIndicator(t, fmt.Appendf(nil, `{"type":"indicator","id":"indicator--%s","modified":%q,"pattern":"[x:y='z']"}`, id, now.Format("2006-01-02T15:04:05.000Z")))
		return
	case 2:
		more = fmt.Sprintf(`,{"type":"malware","id":"malware--%s","modified":%q,"name":"new","is_family":false}`, id, now.Format(time.RFC3339))
	case 3:
		more = "," + abroad(r, id, now)
	case 4, 5:
		text = renewed(t, r, text, now)
	}
	late := time.Duration(r.Int64N(int64(9 * time.Minute))) // the overlap is ten
	w.putLate(t, item.dataset, item.id, now, late, []byte(strings.TrimSuffix(string(text), "]")+more+"]"))
}

// listAgain lets every item come again as it is. Of the indicators, which come again only when they have changed, those
// change that OpenCTI does not hold in their newest version.
func (w *simulatedWorld) listAgain(t *testing.T, platform *openctitest.Platform) {
	now := time.Now().UTC()
	for _, item := range w.items {
		text, _ := w.data.Item(item.dataset, strconv.FormatInt(item.id, 10))
		w.put(t, item.dataset, item.id, now, text)
	}
	indicators, _ := w.data.Indicators(time.Time{}, true, 1<<30)
	for i, text := range indicators { // no two of them at one moment, of which the API shows no more than a page
		objects := mapped(w.mapper, fetch.IndicatorsDataset, "", text)
		own := objects[len(objects)-1]
		if held, _ := platform.Object(own.id); !modifiedOf(delivery{Object: held}).Equal(own.modified) {
			w.putIndicator(t, changedAt(t, text, now.Add(time.Duration(i-len(indicators))*time.Millisecond)))
		}
	}
}

// renewed is an item in which some of the objects have changed.
func renewed(t *testing.T, r *rand.Rand, item []byte, now time.Time) []byte {
	var objects []json.RawMessage
	must(t, json.Unmarshal(item, &objects))
	for i, text := range objects {
		if r.IntN(4) == 0 && strings.Contains(string(text), `"modified"`) {
			objects[i] = changedAt(t, text, now)
		}
	}
	changed, err := json.Marshal(objects)
	must(t, err)
	return changed
}

// changedAt is an object's text with another date of its last change.
func changedAt(t *testing.T, text []byte, date time.Time) []byte {
	var members map[string]any
	must(t, json.Unmarshal(text, &members))
	members["modified"] = date.Format("2006-01-02T15:04:05.000Z")
	changed, err := json.Marshal(members)
	must(t, err)
	return changed
}
