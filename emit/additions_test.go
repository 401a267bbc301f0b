package emit

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

const copiedID = "malware--00000000-0000-4000-8000-000000000001"

// with is a copy that states something besides.
func with(member string) string { return strings.Replace(unmarked, `"name"`, member+`,"name"`, 1) }

// ident is the id of an author, and the author.
func ident(n int) (string, string) {
	id := fmt.Sprintf("identity--00000000-0000-4000-8000-00000000000%d", n)
	return id, `{"type":"identity","id":"` + id + `","name":"author ` + fmt.Sprint(n) + `","identity_class":"organization"}`
}

// authors are those that an object was sent with, in order.
func (r *rig) authors(id string) (a []any) {
	for _, m := range r.queue.messages {
		if m.id == id && m.object["created_by_ref"] != nil {
			a = append(a, m.object["created_by_ref"])
		}
	}
	return a
}

func hashOfAuthor(t *testing.T, id string) uint32 {
	objects, _ := white(t).Transform(t.Context(), pipeline.Item{Data: json.RawMessage(with(`"created_by_ref":"` + id + `"`))})
	for _, o := range objects {
		if o.ID == copiedID {
			return o.Stated.Author
		}
	}
	return 0
}

// greater returns two authors, the one that has the last word second.
func greater(t *testing.T) (lo, loText, hi, hiText string) {
	a, at := ident(1)
	b, bt := ident(2)
	if hashOfAuthor(t, a) > hashOfAuthor(t, b) {
		a, at, b, bt = b, bt, a, at
	}
	return a, at, b, bt
}

func TestAStandardMarkingIsBroughtWhereOpenCTIRefusesToAnswer(t *testing.T) {
	x := memoryIndex{index.KeyOf(tlpRed): {Digest: 5, Run: 7, Seq: 1, Day: index.DayOf(time.Now())}}
	platform := catalogueOf()
	platform.refuse = func(int) error {
		return &opencti.Error{Operation: "holds", Name: "FORBIDDEN_ACCESS", Status: 403}
	}
	r := start(t, 9, x, newMemoryStore(), func(c *Config) { c.Platform, c.Doubted = platform, map[uint32]bool{7: true} })
	defer r.Close()
	r.serve(t, red)
	r.finish(t, pipeline.Complete)
	if !r.isRed(copiedID) {
		t.Error("sent without TLP:RED")
	}
}

func TestCopiesWithMarkingsOfTheirOwnAreNotSentAgain(t *testing.T) {
	mk := func(n int) (string, string) {
		id := fmt.Sprintf("marking-definition--00000000-0000-4000-8000-00000000000%d", n)
		return id, `{"type":"marking-definition","id":"` + id + `","definition_type":"statement","definition":{"statement":"s` + fmt.Sprint(n) + `"}}`
	}
	a, at := mk(1)
	b, bt := mk(2)
	x, s := memoryIndex{}, newMemoryStore()
	for run := uint32(1); run < 5; run++ {
		r := start(t, run, x, s, nil)
		r.serve(t, at, bt, with(`"object_marking_refs":["`+a+`"]`), with(`"object_marking_refs":["`+b+`"]`))
		r.finish(t, pipeline.Complete)
		if run > 1 && len(r.queue.messages) > 0 {
			t.Errorf("run %d sent %d", run, len(r.queue.messages))
		}
	}
}

func TestAnAuthorThatNobodyBringsStandsInNobodysWay(t *testing.T) {
	lo, loText, hi, _ := greater(t)
	cl, ch := with(`"created_by_ref":"`+lo+`"`), with(`"created_by_ref":"`+hi+`"`)
	for name, items := range map[string][]string{"low first": {loText, cl, ch}, "high first": {loText, ch, cl}, "plain, high, low": {loText, unmarked, ch, cl}} {
		t.Run(name, func(t *testing.T) {
			x, s := memoryIndex{}, newMemoryStore()
			for run := uint32(1); run < 3; run++ {
				r := start(t, run, x, s, nil)
				r.serve(t, items...)
				r.finish(t, pipeline.Complete)
				if run == 1 && !slices.Contains(r.authors(copiedID), any(lo)) {
					t.Errorf("run %d authors %v, want %s", run, r.authors(copiedID), lo)
				}
			}
		})
	}
}

func TestLabelsThatAreConfirmedDoNotHideAnAuthorUnderWay(t *testing.T) {
	lo, loText, hi, hiText := greater(t)
	x, s := memoryIndex{}, newMemoryStore()
	r := start(t, 1, x, s, nil)
	r.serve(t, loText, hiText, unmarked)
	r.finish(t, pipeline.Complete)
	r = start(t, 2, x, s, nil)
	r.queue.hold = true
	r.serve(t, with(`"labels":["x"]`))
	if err := r.send(t.Context(), true); err != nil { // an old batch
		t.Fatal(err)
	}
	r.serve(t, with(`"created_by_ref":"`+hi+`"`))
	for _, c := range r.queue.held {
		c(nil)
	}
	r.queue.held = nil
	r.serve(t, with(`"created_by_ref":"`+lo+`"`))
	r.finish(t, pipeline.Complete)
	if a := r.authors(copiedID); len(a) == 0 || a[len(a)-1] != any(hi) {
		t.Errorf("authors %v, want %s last", a, hi)
	}
}

func TestAnAuthorFromTheShelfHasTheLastWord(t *testing.T) {
	lo, loText, hi, hiText := greater(t)
	lesser := with(`"created_by_ref":"` + lo + `"`)
	for name, tt := range map[string]struct {
		before []string // of an earlier run
		items  [][]string
	}{
		"over one that was known before": {[]string{loText}, [][]string{{hiText, lesser}}},
		"over one of the same item":      {nil, [][]string{{loText, hiText, lesser}}},
		"over one of a later item":       {nil, [][]string{{hiText}, {loText, lesser}}},
		"over one of an earlier item":    {nil, [][]string{{loText, lesser}, {hiText}}},
	} {
		t.Run(name, func(t *testing.T) {
			x, s := memoryIndex{}, newMemoryStore()
			r := start(t, 1, x, s, nil)
			r.serve(t, append(tt.before, unmarked)...)
			r.finish(t, pipeline.Complete)
			r = start(t, 2, x, s, nil)
			r.serve(t, with(`"created_by_ref":"`+hi+`"`))
			r.finish(t, pipeline.Complete) // held back: nothing brings hi
			r = start(t, 3, x, s, nil)
			for _, item := range tt.items {
				r.serve(t, item...)
			}
			r.finish(t, pipeline.Complete)
			if a := r.authors(copiedID); len(a) == 0 || a[len(a)-1] != any(hi) {
				t.Errorf("authors %v, want %s last", a, hi)
			}
		})
	}
}

func TestAnAuthorIsSentWhereAGreaterOneIsHeldBack(t *testing.T) {
	lo, loText, hi, _ := greater(t)
	x, s := memoryIndex{}, newMemoryStore()
	r := start(t, 1, x, s, nil)
	r.serve(t, loText, unmarked)
	r.finish(t, pipeline.Complete)
	r = start(t, 2, x, s, nil)
	r.serve(t, with(`"created_by_ref":"`+lo+`"`))
	r.serve(t, with(`"created_by_ref":"`+hi+`"`))
	r.finish(t, pipeline.Complete)
	if a := r.authors(copiedID); !slices.Contains(a, any(lo)) {
		t.Errorf("authors %v, want %s, for nothing brings the other", a, lo)
	}
	r = start(t, 3, x, s, nil)
	r.finish(t, pipeline.Complete)
}

// The newer version waits for an end that nobody brings, and the older, which OpenCTI has, gets an author meanwhile.
func TestAnAuthorIsSentWhereTheNewerVersionIsHeldBack(t *testing.T) {
	lo, loText, _, _ := greater(t)
	const rel = `{"type":"relationship","id":"relationship--00000000-0000-4000-8000-000000000001","relationship_type":"uses","source_ref":"malware--00000000-0000-4000-8000-000000000001","target_ref":"%s","modified":"2025-01-0%d T"%s}`
	mk := func(target string, day int, more string) string {
		return strings.Replace(fmt.Sprintf(rel, target, day, more), " T", "T00:00:00.000Z", 1)
	}
	const tool = `{"type":"tool","id":"tool--00000000-0000-4000-8000-000000000001","name":"t"}`
	v1 := mk("tool--00000000-0000-4000-8000-000000000001", 1, "")
	x, s := memoryIndex{}, newMemoryStore()
	r := start(t, 1, x, s, nil)
	r.serve(t, loText, unmarked, tool, v1)
	r.finish(t, pipeline.Complete)
	r = start(t, 2, x, s, nil)
	r.serve(t, mk("tool--00000000-0000-4000-8000-000000000001", 1, `,"created_by_ref":"`+lo+`"`))
	r.serve(t, mk("tool--00000000-0000-4000-8000-000000000009", 2, ""))
	if err := r.send(t.Context(), true); err != nil { // Tick: the batch is old
		t.Fatal(err)
	}
	r.finish(t, pipeline.Complete)
	if a := r.authors("relationship--00000000-0000-4000-8000-000000000001"); !slices.Contains(a, any(lo)) {
		t.Errorf("authors %v, want %s on the version that OpenCTI has", a, lo)
	}
}
