package endtoend

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/opencti-connectors/threatmatch/fetch"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// source is what the simulated ThreatMatch holds, and draws more of it. Items share objects in several versions; relations
// lead to other items, to the last page of indicators, and to nowhere; indicators share their modified. What the model
// knows of it comes from here and not from the connector's mapping, so that nothing the mapping loses stays unseen.
type source struct {
	*model
	drawing sync.Mutex // guards all below
	rng     *rand.Rand
	folder  *threatmatchtest.Folder
	items   []drawnItem
	// present holds the newest version of each object.
	present map[string]drawn
	pool    []drawn // shared objects
	last    map[string]int64
	now     func() time.Time // the clock that changes are dated by
	latest  time.Time        // that it has shown
}

// drawnItem is an item as it was served from a moment on.
type drawnItem struct {
	dataset string
	id      int64
	objects []drawn
}

// drawn is a STIX object as the source draws it.
type drawn struct {
	id, typ  string
	modified time.Time
	source   string   // source_ref
	target   string   // target_ref
	refs     []string // object_refs
	author   string   // created_by_ref
}

// known is what the model must know of it.
func (o drawn) known() object {
	k := object{id: o.id, modified: o.modified, refs: slices.Clone(o.refs)}
	if o.source != "" {
		k.ends = []string{o.source, o.target}
		k.refs = append(k.refs, k.ends...)
	}
	if o.author != "" {
		k.refs = append(k.refs, o.author)
	}
	return k
}

func (o drawn) json() string {
	var b strings.Builder
	stamp := o.modified.UTC().Format("2006-01-02T15:04:05.000000Z")
	fmt.Fprintf(&b, `{"type":%q,"spec_version":"2.1","id":%q,"created":"2024-01-01T00:00:00.000Z","modified":%q,"name":"%s at %s"`,
		o.typ, o.id, stamp, o.id[len(o.id)-6:], stamp)
	if o.source != "" {
		fmt.Fprintf(&b, `,"relationship_type":"uses","source_ref":%q,"target_ref":%q`, o.source, o.target)
	}
	if o.refs != nil {
		fmt.Fprintf(&b, `,"object_refs":["%s"]`, strings.Join(o.refs, `","`))
	}
	if o.author != "" {
		fmt.Fprintf(&b, `,"created_by_ref":%q`, o.author)
	}
	if o.typ == "indicator" {
		fmt.Fprintf(&b, `,"pattern":"[file:name = '%s']","pattern_type":"stix","valid_from":%q`, o.id, stamp)
	}
	b.WriteByte('}')
	return b.String()
}

// dawn is when the first item was written: long before any run.
var dawn = time.Date(2025, 3, 1, 8, 0, 0, 0, time.UTC)

type sourceSize struct{ profiles, alerts, indicators int }

// newSource draws intelligence.
func newSource(rng *rand.Rand, size sourceSize) *source {
	s := &source{model: newModel(), rng: rng, folder: &threatmatchtest.Folder{}, present: map[string]drawn{}, last: map[string]int64{}, now: time.Now}
	for range 40 {
		s.pool = append(s.pool, drawn{id: s.newID([]string{"tool", "malware", "attack-pattern"}[rng.IntN(3)]), modified: dawn})
	}
	for i := range s.pool {
		s.pool[i].typ, _, _ = strings.Cut(s.pool[i].id, "--")
	}
	indicators := make([]drawn, size.indicators)
	at := dawn
	for i := range indicators {
		if i%5 == 0 || rng.IntN(3) == 0 { // else it shares its moment with the one before
			at = at.Add(time.Duration(1+rng.IntN(5_000_000)) * time.Microsecond)
		}
		indicators[i] = drawn{id: s.newID("indicator"), typ: "indicator", modified: at}
	}
	own := s.drawOwn(size)
	for i := range indicators {
		if rng.IntN(10) == 0 {
			indicators[i].author = pick(rng, own)[1].id // an identity that some item brings
		}
		s.putIndicator(indicators[i])
	}
	for n, objects := range own {
		dataset, id := fetch.ProfilesDataset, int64(100+3*n)
		if n >= size.profiles {
			dataset, id = fetch.AlertsDataset, int64(5000+2*n)
		}
		s.put(dataset, id, dawn.Add(time.Duration(n)*time.Minute), s.fill(objects, own, indicators))
	}
	return s
}

// drawOwn draws what each item brings alone: a report, an identity and two pieces of malware.
func (s *source) drawOwn(size sourceSize) [][]drawn {
	own := make([][]drawn, size.profiles+size.alerts)
	for n := range own {
		for _, typ := range []string{"report", "identity", "malware", "malware"} {
			own[n] = append(own[n], drawn{id: s.newID(typ), typ: typ, modified: dawn.Add(time.Duration(n) * time.Minute)})
		}
	}
	return own
}

// fill adds to an item's own objects shared ones, relations, and what its report holds.
func (s *source) fill(own []drawn, others [][]drawn, indicators []drawn) []drawn {
	rng, moment := s.rng, own[0].modified
	item := slices.Clone(own)
	for range 3 {
		i := rng.IntN(len(s.pool))
		if rng.IntN(3) == 0 {
			s.pool[i].modified = s.pool[i].modified.Add(time.Duration(1+rng.IntN(1000)) * time.Second)
		}
		item = append(item, s.pool[i])
	}
	ends := []string{
		item[4].id, item[5].id, pick(rng, others)[2].id, pick(rng, others)[3].id, pick(rng, indicators).id,
		indicators[len(indicators)-1-rng.IntN(min(20, len(indicators)))].id, pick(rng, others)[0].id,
	}
	if rng.IntN(4) == 0 {
		ends = append(ends, s.newID("malware")) // nothing brings it
	}
	item[0].refs = []string{item[1].id}
	for i, end := range ends {
		if end == item[2].id {
			continue
		}
		relation := drawn{id: s.newID("relationship"), typ: "relationship", modified: moment, source: item[2].id, target: end}
		item = append(item, relation)
		if i%2 == 0 {
			item[0].refs = append(item[0].refs, relation.id)
		}
	}
	if rng.IntN(6) == 0 {
		if other := pick(rng, others)[0].id; other != item[0].id {
			item[0].refs = append(item[0].refs, other) // reports that hold each other close circles
		}
	}
	rng.Shuffle(len(item), func(i, j int) { item[i], item[j] = item[j], item[i] })
	return item
}

func pick[T any](rng *rand.Rand, list []T) T { return list[rng.IntN(len(list))] }

func (s *source) newID(typ string) string {
	var raw [16]byte
	for i := range raw {
		raw[i] = byte(s.rng.Uint32())
	}
	id, _ := uuid.FromBytes(raw[:]) // sixteen bytes are always one
	return typ + "--" + id.String()
}

func (s *source) put(dataset string, id int64, date time.Time, objects []drawn) {
	texts := make([]string, len(objects))
	for i, o := range objects {
		texts[i] = o.json()
	}
	if err := s.folder.Put(dataset, id, date, []byte("["+strings.Join(texts, ",")+"]")); err != nil {
		panic(err) // the dataset's name is wrong
	}
	s.last[dataset] = max(s.last[dataset], id)
	s.items = append(s.items, drawnItem{dataset, id, objects})
	s.note(dataset, strconv.FormatInt(id, 10), date, objects...)
}

func (s *source) putIndicator(o drawn) {
	if err := s.folder.PutIndicator([]byte(o.json())); err != nil {
		panic(err) // the text above is wrong
	}
	s.note(fetch.IndicatorsDataset, o.id, o.modified, o)
}

// stepClock lets the clock that changes are dated by be moved.
func (s *source) stepClock(step func()) {
	s.drawing.Lock()
	defer s.drawing.Unlock()
	s.look()
	step()
}

// look is the moment that the clock shows.
func (s *source) look() time.Time {
	now := s.now().UTC().Truncate(time.Microsecond)
	if now.After(s.latest) {
		s.latest = now
	}
	return now
}

func (s *source) note(dataset, id string, date time.Time, objects ...drawn) {
	e := entry{dataset: dataset, id: id, date: date, late: date.Before(s.latest)}
	for _, o := range objects {
		e.objects = append(e.objects, o.known())
		if old, known := s.present[o.id]; !known || o.modified.After(old.modified) {
			s.present[o.id] = o
		}
	}
	s.add(e)
}

// grow adds an item and some indicators that are new now, and brings another item up to date.
func (s *source) grow() {
	s.drawing.Lock()
	defer s.drawing.Unlock()
	now := s.look()
	items := slices.Clone(s.items)
	for range 1 + s.rng.IntN(10) { // less than a page of one moment
		s.putIndicator(drawn{id: s.newID("indicator"), typ: "indicator", modified: now})
	}
	dataset := []string{fetch.ProfilesDataset, fetch.AlertsDataset}[s.rng.IntN(2)]
	known := pick(s.rng, items).objects
	fresh := drawn{id: s.newID("malware"), typ: "malware", modified: s.latest}
	s.put(dataset, s.last[dataset]+1, now, []drawn{
		{id: s.newID("relationship"), typ: "relationship", modified: now, source: fresh.id, target: pick(s.rng, known).id}, fresh,
	})
	old := pick(s.rng, items)
	renewed := slices.Clone(old.objects)
	for j := range renewed {
		if !slices.Contains([]string{"identity", "report", "malware"}, renewed[j].typ) || s.shared(renewed[j].id) {
			continue
		}
		renewed[j] = s.present[renewed[j].id] // the item may have been brought up to date before
		if s.rng.IntN(2) == 0 {
			renewed[j].modified = s.latest // now, but where the clock was set back: no version comes before an earlier one
		}
	}
	s.put(old.dataset, old.id, now, renewed)
}

func (s *source) shared(id string) bool {
	return slices.ContainsFunc(s.pool, func(o drawn) bool { return o.id == id })
}
