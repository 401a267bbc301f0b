package transform

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// TestWhatComesAgainBecomesTheSame takes an object that says all that is told of one beside its text: techniques, what it lists,
// a date that is none. The item around it is another.
func TestWhatComesAgainBecomesTheSame(t *testing.T) {
	const again = `{"type":"malware","id":"malware--1","name":"a","labels":["T1078 - Valid Accounts"],"object_refs":["indicator--1"],"created":"?"}`
	tr, anew := mustNew(t, Config{TLP: "amber"}), mustNew(t, Config{TLP: "amber"})
	for _, beside := range []string{`{"type":"tool","id":"tool--1","name":"b"}`, `{"type":"tool","id":"tool--2","name":"c"}`} {
		before := tr.Repaired()
		got, err := tr.Transform(t.Context(), item("["+again+","+beside+"]"))
		want, _ := anew.Transform(t.Context(), item("["+beside+","+again+"]"))
		if err != nil || tr.Repaired() != before+1 {
			t.Errorf("error %v, %d repaired", err, tr.Repaired()-before)
		}
		if said(got) != said(want) || !strings.Contains(said(got), "T1078") || !strings.Contains(said(got), "indicates") {
			t.Errorf("came\n%s\nwant\n%s", said(got), said(want))
		}
		anew = mustNew(t, Config{TLP: "amber"})
	}
	if len(tr.recall.young) != 3 {
		t.Errorf("%d objects are remembered", len(tr.recall.young))
	}
}

// said is all that objects say, in an order of its own.
func said(objects []pipeline.Object) string {
	texts := make([]string, len(objects))
	for i, o := range objects {
		texts[i] = fmt.Sprintf("%s %s %x %+v %v %s", o.ID, o.Type, o.Digest, o.Stated, o.Refs, o.JSON)
	}
	slices.Sort(texts)
	return strings.Join(texts, "\n")
}

func TestWhatIsRememberedHasABound(t *testing.T) {
	const length = longestRecalled
	r := newRecall()
	for i := range uint64(10 * mostRecalled / length) {
		r.add(textKey{i, i}, mapped{length: length})
		if _, known := r.get(textKey{0, 0}); !known {
			t.Fatalf("what is asked for all the time is forgotten after %d others", i)
		}
	}
	if remembered := (len(r.young) + len(r.old)) * length; remembered > 2*mostRecalled+2*length || remembered < mostRecalled {
		t.Errorf("%d bytes are remembered", remembered)
	}
	tr := mustNew(t, Config{TLP: "amber"})
	_, _ = tr.Transform(t.Context(), item(`[{"type":"tool","id":"tool--1","x":"`+strings.Repeat("x", longestRecalled)+`"},{"id":"none"},7]`))
	if len(tr.recall.young) > 0 {
		t.Error("what is too long, or left out, is remembered")
	}
}
