package emit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
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
	if err := json.Unmarshal(b.Text(), &read); err != nil || b.Number != len(c.bundles)+1 || len(b.Messages) != len(read.Objects) {
		return fmt.Errorf("bundle %d of %d objects: %w: %s", b.Number, len(b.Messages), err, b.Text())
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

// desk takes workbenches of so many bytes.
type desk struct {
	most  int
	files map[string]int // objects of each
	names []string
}

func (d *desk) UploadWorkbench(_ context.Context, name string, text []byte) error {
	if len(text) > d.most {
		return &opencti.Error{Operation: "uploadPending", Status: http.StatusRequestEntityTooLarge}
	}
	var read struct{ Objects []json.RawMessage }
	if err := json.Unmarshal(text, &read); err != nil {
		return err
	}
	d.names, d.files[name] = append(d.names, name), len(read.Objects)
	return nil
}

func TestAWorkbenchThatIsTooLargeGoesInHalves(t *testing.T) {
	d, w := &desk{most: 1000, files: map[string]int{}}, &works{}
	books := NewBooks(w, "a run", zap.NewNop())
	bench := NewWorkbench(d, books, zap.NewNop())
	var messages []Message
	for i := range 40 {
		messages = append(messages, Message{ID: fmt.Sprintf("tool--%d", i), Object: fmt.Appendf(nil, `{"type":"tool","id":"tool--%d","name":"%050d"}`, i, i)})
	}
	messages[17].Object = fmt.Appendf(nil, `{"type":"tool","id":"tool--17","name":"%02000d"}`, 0)
	if err := bench.Put(t.Context(), Bundle{Number: 1, Messages: messages}); err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, n := range d.files {
		sum += n
	}
	if sum != 39 || !slices.IsSorted(d.names[1:]) || d.names[0] != "work_1.json" {
		t.Errorf("%d objects in %v", sum, d.names)
	}
	expected := 0
	for _, n := range w.expected {
		expected += n
	}
	if expected != len(d.files)+1 || len(w.leftOut) != expected || !slices.ContainsFunc(w.leftOut, func(s string) bool { return strings.Contains(s, "tool--17") }) {
		t.Errorf("%d files, the work expects %d and was told %q", len(d.files), expected, w.leftOut)
	}
}

func TestWhatIsOnlyDepositedHasNoLimit(t *testing.T) {
	c := &chest{room: 10}
	r := newRig(1, memoryIndex{}, newMemoryStore(), func(cfg *Config) { cfg.Deposits, cfg.MaxMessageBytes = []Deposit{c}, 1000 })
	outcomes := r.put(t, object(t, fmt.Sprintf(`{"type":"tool","id":"tool--1","name":"%05000d"}`, 0)))
	r.finish(t, pipeline.Complete)
	if !isDelivered(outcomes) || len(c.bundles) != 1 || r.Account().Refused > 0 {
		t.Errorf("%v, %v, %d refused", *outcomes, c.bundles, r.Account().Refused)
	}
}

func TestWhatIsJudgedRunByRunBringsAlongWhatItIsMadeOf(t *testing.T) {
	x, waiting := memoryIndex{}, newMemoryStore()
	tool := object(t, toolText)
	one, two := object(t, `{"type":"malware","id":"malware--1","a_ref":"`+tool.ID+`"}`), object(t, `{"type":"malware","id":"malware--2","a_ref":"`+tool.ID+`"}`)
	for _, anew := range []bool{true, false} {
		for run, objects := range [][]pipeline.Object{{tool, one}, {tool, two}} {
			r := newRig(uint32(run+1), x, waiting, func(cfg *Config) { cfg.Anew = anew })
			r.put(t, objects...)
			r.finish(t, pipeline.Complete)
			if got := r.ids(); anew && len(got) != 2 || !anew && len(got) != 0 {
				t.Errorf("anew %t, run %d: %v", anew, run+1, got)
			}
		}
	}
}
