package transform

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

func TestAPanicOverAnObjectCostsThatObject(t *testing.T) {
	var broken *mapping // has no author to look at
	s := new(scratch)
	s.ctx, s.out = t.Context(), []byte("half an object")
	item := itemText{text: []byte(`{"type":"tool","id":"tool--1","name":"a"}`)}
	item.read(&s.parsed, 0)
	o, reason := broken.guarded(s)
	if reason.why != pipeline.Fault || o.JSON != nil || !strings.Contains(string(reason.stack), "mapping.go") || s.out != nil || s.ctx == nil {
		t.Errorf("object %+v, reason %q %q, scratch %q", o, reason.why, reason.text, s.out)
	}
	left := leftOut{item: pipeline.Item{Dataset: "alerts", ID: "7"}}
	left.add(2, o.ID, reason)
	var named pipeline.Broken
	if err := left.err(); !errors.As(err, &named) || len(named.Stack()) == 0 || !strings.Contains(err.Error(), "number 3 in the item") {
		t.Errorf("named: %v", err)
	}
}

// TestAnObjectThatIsNestedTooDeepCostsItself also where it has to be repaired first, which looks at each level once more.
func TestAnObjectThatIsNestedTooDeepCostsItself(t *testing.T) {
	for levels, comes := range map[int]bool{mostLevels - 1: true, mostLevels: false, 9000: false} {
		for name, beside := range map[string]string{"strict": "", "to repair": `"x":1,"x":2,`} {
			t.Run(fmt.Sprint(levels, " ", name), func(t *testing.T) {
				nested := strings.Repeat("[", levels) + `"[{"` + strings.Repeat("]", levels)
				item := fmt.Sprintf(`[{"type":"tool","id":"tool--1","name":"a",%s"x_nested":%s},{"type":"tool","id":"tool--2","name":"b"}]`, beside, nested)
				objects, err := mustNew(t, Config{TLP: "amber"}).Transform(t.Context(), pipeline.Item{Dataset: "alerts", ID: "7", Data: []byte(item)})
				got := map[string]bool{}
				for _, o := range objects {
					got[o.ID] = true
				}
				if got["tool--1"] != comes || !got["tool--2"] || (err == nil) != comes {
					t.Errorf("objects %v, error %v", got, err)
				}
				var named *ObjectError
				if !comes && (!errors.As(err, &named) || named.Why != TooDeep || named.ObjectID != "tool--1") {
					t.Errorf("error %v", err)
				}
			})
		}
	}
}

func TestAPanicOverWhatIsDerivedCostsNoObject(t *testing.T) {
	tr := mustNew(t, Config{TLP: "amber", Observables: true})
	transformed := func() (types string, err error) {
		objects, err := tr.Transform(t.Context(), pipeline.Item{Dataset: "alerts", ID: "7", Data: []byte(`[{"type":"tool","id":"tool--1"},
			{"type":"indicator","id":"indicator--2","pattern_type":"stix","pattern":"[domain-name:value = 'a.example']"},{"type":"tool"}]`)})
		for _, o := range objects {
			types += o.Type + " "
		}
		return types, err
	}
	sound := tr.mapping.wantsDerived
	tr.mapping.wantsDerived = func(string) bool { panic("nobody has foreseen this") }
	types, err := transformed()
	if types != "identity marking-definition tool indicator " {
		t.Errorf("objects: %s", types)
	}
	var one *ObjectError
	if !errors.As(err, &one) || one.Why != NoID {
		t.Errorf("the object without an id is not named: %v", err)
	}
	told := err.(interface{ Unwrap() []error }).Unwrap()
	last := told[len(told)-1]
	var broken pipeline.Broken
	var counted pipeline.LeftOut
	if !errors.As(last, &broken) || !strings.Contains(string(broken.Stack()), "derived.go") || !errors.As(last, &counted) {
		t.Fatalf("told: %v", last)
	}
	if why, n := counted.LeftOut(); why != pipeline.Fault || n != 1 || !strings.Contains(last.Error(), "alerts 7") {
		t.Errorf("%d × %s: %v", n, why, last)
	}
	tr.mapping.wantsDerived = sound
	if types, _ = transformed(); types != "identity marking-definition tool indicator domain-name relationship " {
		t.Errorf("the next item: %s", types)
	}
}

func TestAScratchThatAPanicHasLeftIsNotUsedAgain(t *testing.T) {
	tr, s := mustNew(t, Config{TLP: "amber"}), new(scratch) // without a map to note copies in
	tr.scratch.New = func() any { return s }
	broken := pipeline.Catch(func() {
		_, _ = tr.Transform(t.Context(), pipeline.Item{Data: []byte(`[{"type":"tool","id":"tool--1"},{"type":"tool","id":"tool--2"}]`)})
	})
	if broken == nil || s.ctx == nil {
		t.Errorf("panic %v, the scratch was made ready for the next: %t", broken, s.ctx == nil)
	}
}
