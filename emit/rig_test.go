package emit

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
	"github.com/opencti-connectors/threatmatch/transform"
)

// memoryIndex is an index that a crash does not touch: what was put is there.
type memoryIndex map[index.Key]index.Record

func (m memoryIndex) Lookup(k index.Key) (index.Record, bool) { r, found := m[k]; return r, found }
func (m memoryIndex) Put(k index.Key, r index.Record)         { m[k] = r }
func (m memoryIndex) Flush(context.Context) error             { return nil }

// memoryStore is a disk for waiting objects.
type memoryStore struct {
	order   []string
	byID    map[string]index.Waiter
	full    bool
	read    int                        // objects that were read for what they wait for
	open    map[string]map[string]bool // what each waits for still
	partial map[string]bool            // of these, those of which a part has come
	// removed lists what was taken off since the last Save, which alone waits for the disk.
	removed []index.Waiter
}

func newMemoryStore() *memoryStore {
	return &memoryStore{byID: map[string]index.Waiter{}, open: map[string]map[string]bool{}, partial: map[string]bool{}}
}

func (m *memoryStore) Save(_ context.Context, waiters []index.Waiter) (int, error) {
	if m.full {
		return 0, errors.New("no space left on device")
	}
	m.removed = nil
	for _, w := range waiters {
		if !m.Has(w.Object.ID) {
			m.order = append(m.order, w.Object.ID)
		}
		w.Object.JSON = slices.Clone(w.Object.JSON)
		w.Missing = slices.Clone(w.Missing)
		m.byID[w.Object.ID] = w
		m.lock(w)
	}
	return 0, nil
}

func (m *memoryStore) Remove(_ context.Context, ids []string) error {
	for _, id := range ids {
		if w, found := m.byID[id]; found {
			m.removed = append(m.removed, w)
		}
		delete(m.byID, id)
		delete(m.open, id)
		delete(m.partial, id)
		m.order = slices.DeleteFunc(m.order, func(s string) bool { return s == id })
	}
	return nil
}

// bringBack undoes what was not durable, as the crash of a machine can.
func (m *memoryStore) bringBack() {
	for _, w := range m.removed {
		if !m.Has(w.Object.ID) {
			m.order = append(m.order, w.Object.ID)
			m.byID[w.Object.ID] = w
			m.lock(w)
		}
	}
	m.removed = nil
}

func (m *memoryStore) Get(id string) (index.Waiter, bool, error) {
	w, found := m.byID[id]
	return w, found, nil
}

func (m *memoryStore) Has(id string) bool { _, found := m.byID[id]; return found }

func (m *memoryStore) Modified(id string) (time.Time, bool) {
	w, found := m.byID[id]
	return w.Object.Modified, found
}

// lock lets an object wait for all that it was saved for.
func (m *memoryStore) lock(w index.Waiter) {
	id := w.Object.ID
	m.open[id] = map[string]bool{}
	delete(m.partial, id)
	for _, ref := range w.Missing {
		m.open[id][ref] = w.Kind != index.Parked
	}
}

// yield yields those of some ids that are there when it is their turn.
func (m *memoryStore) yield(ids []string) iter.Seq2[index.Waiter, error] {
	return func(yield func(index.Waiter, error) bool) {
		for _, id := range ids {
			w, found := m.byID[id]
			if !found {
				continue
			}
			m.read++
			if !yield(w, nil) {
				return
			}
		}
	}
}

func (m *memoryStore) waitsFor(id string, key index.Key) (ref string, waits bool) {
	for ref := range m.open[id] {
		if m.open[id][ref] && index.KeyOf(ref) == key {
			return ref, true
		}
	}
	return "", false
}

func (m *memoryStore) IsAwaited(ref index.Key) bool {
	return slices.ContainsFunc(m.order, func(id string) bool { _, waits := m.waitsFor(id, ref); return waits })
}

func (m *memoryStore) arrive(key index.Key) (ids []string) {
	for _, id := range m.order {
		ref, waits := m.waitsFor(id, key)
		if !waits {
			continue
		}
		delete(m.open[id], ref)
		if m.partial[id] = len(m.open[id]) > 0; !m.partial[id] {
			delete(m.partial, id)
			ids = append(ids, id)
		}
	}
	return ids
}

func (m *memoryStore) Arrive(ref index.Key) iter.Seq2[index.Waiter, error] {
	return func(yield func(index.Waiter, error) bool) { m.yield(m.arrive(ref))(yield) }
}

func (m *memoryStore) TakePartial(most int) iter.Seq2[index.Waiter, error] {
	return func(yield func(index.Waiter, error) bool) {
		ids := slices.Sorted(maps.Keys(m.partial))
		ids = ids[:min(most, len(ids))]
		for _, id := range ids {
			delete(m.partial, id)
			clear(m.open[id])
		}
		m.yield(ids)(yield)
	}
}

func (m *memoryStore) Restart(counts func(index.Key) bool) iter.Seq2[index.Waiter, error] {
	return func(yield func(index.Waiter, error) bool) {
		refs := map[string]bool{}
		var ids []string
		for id, w := range m.byID {
			m.lock(w)
			for _, ref := range w.Missing {
				refs[ref] = true
			}
			if w.Kind == index.Unimported {
				ids = append(ids, id)
			}
		}
		for ref := range refs {
			if counts(index.KeyOf(ref)) {
				ids = append(ids, m.arrive(index.KeyOf(ref))...)
			}
		}
		slices.Sort(ids)
		m.yield(slices.Compact(ids))(yield)
	}
}

func (m *memoryStore) All(kinds ...index.WaiterKind) iter.Seq2[index.Waiter, error] {
	return func(yield func(index.Waiter, error) bool) {
		for _, id := range slices.Clone(m.order) {
			w, found := m.byID[id]
			if found && (len(kinds) == 0 || slices.Contains(kinds, w.Kind)) && !yield(w, nil) {
				return
			}
		}
	}
}

// message is what arrived in the queue.
type message struct {
	Number   int64  `json:"action_sequence"`
	Content  string `json:"content"`
	Work     string `json:"work_id"`
	sequence int64
	id       string
	object   map[string]any
}

// isAddition says that a message only adds something to an object.
func (m message) isAddition() bool {
	text, err := json.Marshal(m.object)
	if err != nil {
		return false
	}
	o, err := transform.Reread(text)
	if err != nil {
		return false
	}
	_, is := transform.AsAddition(o)
	return is
}

func (m message) refs() []string { return refsOf(m.object) }

func refsOf(object map[string]any) []string {
	var refs []string
	for key, value := range object {
		switch v := value.(type) {
		case string:
			if strings.HasSuffix(key, "_ref") {
				refs = append(refs, v)
			}
		case []any:
			if strings.HasSuffix(key, "_refs") {
				for _, r := range v {
					refs = append(refs, r.(string))
				}
			}
		}
	}
	slices.Sort(refs)
	return slices.Compact(refs)
}

var errCrash = errors.New("killed")

// queue is a broker that confirms at once, unless told otherwise.
type queue struct {
	messages []message
	bodies   [][]byte
	// crashAt is the number of messages after which everything fails, 0 for never.
	crashAt int
	// confirm decides whether a message is confirmed; nil confirms each.
	confirm func() bool
	held    []func(error)
	// takes is the size of the largest message that is not refused, 0 for any.
	takes int
	hold  bool // keeps confirms back until Flush
}

func (q *queue) Publish(_ context.Context, body []byte, settled func(error), _ func()) error {
	if q.crashAt > 0 && len(q.messages) >= q.crashAt {
		return errCrash
	}
	if q.takes > 0 && len(body) > q.takes {
		refused := &tooLargeForIt{q.takes}
		if q.hold {
			q.held = append(q.held, func(error) { settled(refused) })
		} else {
			settled(refused)
		}
		return nil
	}
	q.messages, q.bodies = append(q.messages, parseMessage(body)), append(q.bodies, slices.Clone(body))
	switch {
	case q.confirm != nil && !q.confirm():
	case q.hold:
		q.held = append(q.held, settled)
	default:
		settled(nil)
	}
	return nil
}

// tooLargeForIt is why the broker refuses a message.
type tooLargeForIt struct{ most int }

func (e *tooLargeForIt) Error() string  { return fmt.Sprintf("at most %d bytes", e.most) }
func (e *tooLargeForIt) MostBytes() int { return e.most }

func (q *queue) Flush(context.Context, func()) error {
	if q.crashAt > 0 && len(q.messages) >= q.crashAt {
		return errCrash
	}
	for _, settled := range q.held {
		settled(nil)
	}
	q.held = nil
	return nil
}

func parseMessage(body []byte) message {
	var m message
	if err := json.Unmarshal(body, &m); err != nil {
		panic(err)
	}
	text, err := base64.StdEncoding.DecodeString(m.Content)
	if err != nil {
		panic(err)
	}
	var bundle struct {
		Seq     int64            `json:"x_opencti_seq"`
		Objects []map[string]any `json:"objects"`
	}
	if err := json.Unmarshal(text, &bundle); err != nil {
		panic(err)
	}
	m.sequence, m.object, m.id = bundle.Seq, bundle.Objects[0], bundle.Objects[0]["id"].(string)
	return m
}

// works is a platform that keeps the books of one work.
type works struct {
	opened, closed int
	expected       []int
	leftOut        []string // what was named when it was left out, or nothing
	gone           bool     // which only a look tells
}

func (w *works) AddWork(context.Context, string) (string, error) { w.opened++; return "work_1", nil }
func (w *works) AddExpectations(_ context.Context, _ string, n int) error {
	w.expected = append(w.expected, n)
	return nil
}
func (w *works) Expectations(context.Context, string) (int, error) {
	if w.gone {
		return 0, opencti.ErrWorkNotAlive
	}
	sum := 0
	for _, n := range w.expected {
		sum += n
	}
	return sum, nil
}
func (w *works) ReportLeftOut(_ context.Context, _, what string) error {
	w.leftOut = append(w.leftOut, what)
	return nil
}
func (w *works) CloseWork(context.Context, string, string, bool) error { w.closed++; return nil }
func (w *works) Watch(context.Context, string) (opencti.Watched, error) {
	return opencti.Watched{WorkAlive: !w.gone}, nil
}
func (w *works) Processed(context.Context, string) (bool, error) { return w.closed > 0, nil }

// rig is an emitter with everything around it.
type rig struct {
	*Emitter
	queue   *queue
	works   *works
	index   memoryIndex
	waiting *memoryStore
}

// newRig returns an emitter of a run that finds what earlier ones left.
func newRig(run uint32, x memoryIndex, waiting *memoryStore, change func(*Config)) *rig {
	r := &rig{queue: &queue{}, works: &works{}, index: x, waiting: waiting}
	cfg := Config{
		Index: x, Store: waiting, Durable: true, Mapping: testMapping(),
		Books:       NewBooks(r.works, "a run", zap.NewNop()),
		Gauge:       NewGauge(nil, 0, nil, zap.NewNop()),
		ApplicantID: "applicant", Run: run,
	}
	if change != nil {
		change(&cfg)
	}
	if cfg.Outlet == nil && len(cfg.Deposits) == 0 {
		cfg = toQueue(r.queue, cfg)
	}
	r.Emitter = New(cfg)
	return r
}

// toQueue is a configuration with books, which publishes to a queue.
func toQueue(q Publisher, cfg Config) Config {
	if cfg.Books == nil {
		cfg.Books = NewBooks(&works{}, "a run", zap.NewNop())
	}
	cfg.Outlet = NewQueueOutlet(q, cfg.Books, cfg.ApplicantID, nil)
	return cfg
}

// failer is what ordinary and property tests have in common.
type failer interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// object makes an object from its JSON text.
func object(t failer, text string) pipeline.Object {
	t.Helper()
	var members map[string]any
	if err := json.Unmarshal([]byte(text), &members); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, []byte(text)); err != nil {
		t.Fatal(err)
	}
	o := pipeline.Object{ID: members["id"].(string), Digest: xxhash.Sum64String(text), JSON: compact.Bytes()}
	o.Type, _ = members["type"].(string)
	o.AltID, _ = members["x_opencti_id"].(string)
	for _, ref := range refsOf(members) {
		if ref != o.ID {
			o.Refs = append(o.Refs, ref)
		}
	}
	if m, ok := members["modified"].(string); ok {
		if err := json.Unmarshal([]byte(`"`+m+`"`), &o.Modified); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// put hands objects over as one item and returns how the item was settled.
func (r *rig) put(t testing.TB, objects ...pipeline.Object) *[]pipeline.Outcome {
	t.Helper()
	outcomes := new([]pipeline.Outcome)
	err := r.Put(t.Context(), pipeline.Item{Dataset: "profiles", ID: "1"}, objects, func(o pipeline.Outcome) {
		*outcomes = append(*outcomes, o)
	})
	if err != nil {
		t.Fatalf("Put: %v", err)
	}
	return outcomes
}

func (r *rig) finish(t testing.TB, end pipeline.End) {
	t.Helper()
	if err := r.Finish(t.Context(), end); err != nil {
		t.Fatalf("Finish: %v", err)
	}
}

func (r *rig) ids() []string {
	var ids []string
	for _, m := range r.queue.messages {
		ids = append(ids, m.id)
	}
	return ids
}
