package endtoend

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/fetch"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/transform"
	"github.com/opencti-connectors/threatmatch/transform/relations"
)

// defaultMapping is how the program maps unless it is told otherwise.
var defaultMapping = transform.Config{TLP: "amber", ThreatActorAsIntrusionSet: true, Descriptions: transform.Markdown}

// model is what ThreatMatch holds, and says what must come of it at OpenCTI. Every test of the whole program judges by it:
// the end-to-end tests by what it says at the end, the crash tests and the simulation also by what a state may claim on the
// way. It does as much work as it takes to be plain. It is safe for concurrent use.
type model struct {
	mu sync.Mutex
	// entries are all items and indicators, in each version that they were served in.
	entries []entry
	// newest holds the newest version of each object, by its id at OpenCTI: all copies of it that differ.
	newest map[string][]object
	// never is what is never sent; nil when it has to be worked out again.
	never map[string]bool
}

// entry is one item, or one indicator, as it was served from a moment on.
type entry struct {
	dataset, id string
	date        time.Time // of its last change; for an indicator, its modified
	// late says that the clock by which it is dated had shown a later moment before it was there, so that a state which claims
	// all up to its date cannot know of it.
	late    bool
	objects []object
}

// object is what the model knows of a STIX object at OpenCTI.
type object struct {
	id       string
	modified time.Time
	refs     []string // all that it refers to
	// ends are the references without which it must not be sent.
	ends []string
	// mapped is the object as the connector's mapping makes it, nothing where a test has drawn it.
	mapped pipeline.Object
	mapper *transform.Transformer
}

// mappedObject is an object that the mapping has made.
func mappedObject(mapper *transform.Transformer, o pipeline.Object) object {
	return object{id: o.ID, modified: o.Modified, refs: o.Refs, mapped: o, mapper: mapper}
}

// survives says whether there is something left to send without the references that are absent.
func (o object) survives(absent func(ref string) bool) bool {
	if o.mapped.JSON != nil {
		_, ok := o.mapper.WithoutRefs(o.mapped, absent)
		return ok
	}
	return !slices.ContainsFunc(o.ends, absent)
}

// hasEnds says whether it is of those that must not be sent without some of their references.
func (o object) hasEnds() bool {
	return len(o.refs) > 0 && !o.survives(func(string) bool { return true })
}

// newModel returns the model of a ThreatMatch that holds nothing.
func newModel() *model { return &model{newest: map[string][]object{}} }

// modelOf returns the model of data, as a mapping sees it.
func modelOf(t *testing.T, data threatmatchtest.Data, mapping transform.Config) *model {
	t.Helper()
	mapper, err := transform.New(mapping)
	if err != nil {
		t.Fatal(err)
	}
	m := newModel()
	for _, dataset := range []string{fetch.ProfilesDataset, fetch.AlertsDataset, fetch.ReportsDataset} {
		for number := range data.IDs(dataset, time.Time{}) {
			id := strconv.FormatInt(number, 10)
			text, _ := data.Item(dataset, id)
			m.add(entry{dataset: dataset, id: id, objects: mapped(mapper, dataset, id, text)})
		}
	}
	indicators, _ := data.Indicators(time.Time{}, true, 1<<30)
	for _, text := range indicators {
		m.add(entry{dataset: fetch.IndicatorsDataset, objects: mapped(mapper, fetch.IndicatorsDataset, "", text)})
	}
	return m
}

// mapped are the objects that the mapping makes of an item or an indicator; what it leaves out is not held.
func mapped(mapper *transform.Transformer, dataset, id string, text []byte) []object {
	made, _ := mapper.Transform(context.Background(), pipeline.Item{Dataset: dataset, ID: id, Data: text})
	objects := make([]object, len(made))
	for i, o := range made {
		objects[i] = mappedObject(mapper, o)
	}
	return objects
}

// add takes up what ThreatMatch serves from now on.
func (m *model) add(e entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries = append(m.entries, e)
	m.never = nil
	for _, o := range e.objects {
		had := m.newest[o.id]
		switch {
		case len(had) == 0 || had[0].modified.Before(o.modified):
			m.newest[o.id] = []object{o}
		case had[0].modified.Equal(o.modified) && !slices.ContainsFunc(had, func(h object) bool { return bytes.Equal(h.mapped.JSON, o.mapped.JSON) }):
			m.newest[o.id] = append(had, o)
		}
	}
}

// lost lists what is never sent, for it must not go without something that nothing brings; m.mu is held.
func (m *model) lost() map[string]bool {
	if m.never != nil {
		return m.never
	}
	lost := map[string]bool{}
	absent := func(ref string) bool { return len(m.newest[ref]) == 0 && !isStandard(ref) || lost[ref] }
	for again := true; again; {
		again = false
		for id, copies := range m.newest {
			if !lost[id] && !slices.ContainsFunc(copies, func(o object) bool { return o.survives(absent) }) {
				lost[id], again = true, true
			}
		}
	}
	m.never = lost
	return lost
}

// isStandard says that an id is that of a marking which needs nobody who brings it.
func isStandard(id string) bool {
	_, standard := transform.StandardMarking(id)
	return standard
}

// leads says whether references lead from one object to another; m.mu is held.
func (m *model) leads(from, to string) bool {
	lost := m.lost()
	seen := map[string]bool{from: true}
	for rest := []string{from}; len(rest) > 0; rest = rest[1:] {
		for _, o := range m.newest[rest[0]] {
			for _, ref := range o.refs {
				if ref == to {
					return true
				}
				if !seen[ref] && !lost[ref] {
					seen[ref] = true
					rest = append(rest, ref)
				}
			}
		}
	}
	return false
}

// holdings are the objects that a platform ends up with, by id: every text that is right for each. There is more than one
// where copies of one version differ in what the source left out at will, and where a cycle must be cut.
type holdings map[string][]json.RawMessage

// held is what a platform ends up with after everything that data holds was imported: the newest version of each
// object, without the references that nothing brings and without relations that lose an end by that, each relation under
// a type that OpenCTI takes.
func held(t *testing.T, data threatmatchtest.Data, mapping transform.Config) holdings {
	t.Helper()
	m := modelOf(t, data, mapping)
	m.mu.Lock()
	defer m.mu.Unlock()
	lost := m.lost()
	absent := func(ref string) bool { return len(m.newest[ref]) == 0 && !isStandard(ref) || lost[ref] }
	fitter := transform.Fitter{Table: relations.BuiltIn(), Descriptions: mapping.Descriptions}
	text := func(o pipeline.Object) json.RawMessage {
		fitted, _, _ := fitter.Fit(o, func(ref string) uint8 {
			if copies := m.newest[ref]; len(copies) > 0 {
				return copies[0].mapped.Kind
			}
			return 0
		})
		return fitted.JSON
	}
	texts := make(holdings, len(m.newest))
	for id, copies := range m.newest {
		for _, o := range copies {
			whole, ok := o.mapper.WithoutRefs(o.mapped, absent)
			if !ok {
				continue
			}
			texts[id] = append(texts[id], text(whole))
			for _, cut := range whole.Refs {
				if !m.leads(cut, id) {
					continue
				}
				// One of a cycle's references must give way.
				if o, ok := o.mapper.WithoutRefs(whole, func(ref string) bool { return ref == cut }); ok {
					texts[id] = append(texts[id], text(o))
				}
			}
		}
	}
	return texts
}

// checkHeld wants the messages to bring exactly what is held, the last message of an object counting.
func checkHeld(t *testing.T, messages []delivery, want holdings) {
	t.Helper()
	got, _ := byID(messages)
	wrong := 0
	complain := func(format string, args ...any) {
		t.Helper()
		if wrong++; wrong <= 5 {
			t.Errorf(format, args...)
		}
	}
	for id, texts := range want {
		m, found := got[id]
		right := slices.ContainsFunc(texts, func(text json.RawMessage) bool { return bytes.Equal(m.Object, text) })
		switch {
		case !found:
			complain("missing: %s", id)
		case !right:
			complain("%s is\n%s\nand should be\n%s", id, m.Object, texts[0])
		}
	}
	for id := range got {
		if _, found := want[id]; !found && !isStandard(id) {
			complain("nobody brings %s", id)
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d objects are wrong, %d were sent", wrong, len(want), len(got))
	}
}
