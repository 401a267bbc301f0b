package emit

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// bulky is a piece of malware whose message is a little larger than bytes.
func bulky(t testing.TB, i, bytes int) pipeline.Object {
	return object(t, fmt.Sprintf(`{"type":"malware","id":"malware--%d","name":"bulky %d","description":"%s"}`, i, i, strings.Repeat("x", bytes*3/4)))
}

func TestWhatTheBrokerDoesNotTakeIsLeftOutAlone(t *testing.T) {
	for _, hold := range []bool{false, true} {
		t.Run(fmt.Sprintf("late=%t", hold), func(t *testing.T) {
			x, waiting := memoryIndex{}, newMemoryStore()
			r := newRig(1, x, waiting, func(c *Config) { c.MaxMessageBytes = 100_000 })
			r.queue.takes, r.queue.hold = 5000, hold
			first := r.put(t, bulky(t, 1, 5000), object(t, `{"type":"tool","id":"tool--1"}`), bulky(t, 2, 90_000),
				object(t, `{"type":"relationship","id":"relationship--1","source_ref":"malware--1","target_ref":"tool--1"}`))
			if err := r.Hurry(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := r.queue.Flush(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			// What comes now can wait for it, as for one that nothing brings.
			second := r.put(t, object(t, `{"type":"report","id":"report--1","object_refs":["malware--1","tool--1"]}`), bulky(t, 3, 90_000))
			r.finish(t, pipeline.Complete)

			if got, want := r.ids(), []string{"tool--1", "relationship--1", "report--1"}; !slices.Equal(got, want) {
				t.Errorf("sent %q, want %q", got, want)
			}
			if refs := r.queue.messages[len(r.queue.messages)-1].refs(); !slices.Equal(refs, []string{"tool--1"}) {
				t.Errorf("the report refers to %q", refs)
			}
			for _, outcomes := range []*[]pipeline.Outcome{first, second} {
				if !slices.Contains(*outcomes, pipeline.Delivered) {
					t.Errorf("an item was settled as %v, want it delivered at last", *outcomes)
				}
			}
			if a := r.Account(); a.Refused != 3 || a.Confirmed != 3 {
				t.Errorf("account: %+v", a)
			}
			named := strings.Join(r.works.leftOut, "\n")
			for i := 1; i <= 3; i++ {
				if !strings.Contains(named, fmt.Sprintf("malware--%d %q", i, fmt.Sprint("bulky ", i))) {
					t.Errorf("the work does not name malware--%d: %q", i, named)
				}
			}
			// Each that was left out counts as processed: the work expects the others still.
			if expected, _ := r.works.Expectations(t.Context(), ""); expected-len(r.works.leftOut) != len(r.queue.messages) {
				t.Errorf("the work expects %d messages, %d of them are not coming, and %d came", expected, len(r.works.leftOut), len(r.queue.messages))
			}
			if x[index.KeyOf("malware--1")].Mark != index.Lost {
				t.Error("the index does not know that OpenCTI lacks it")
			}

			// With a higher limit a later run makes it good.
			r = newRig(2, x, waiting, nil)
			r.put(t, bulky(t, 1, 5000))
			r.finish(t, pipeline.Complete)
			if got, want := r.ids(), []string{"malware--1", "report--1"}; !slices.Equal(got, want) {
				t.Errorf("the later run sent %q, want %q", got, want)
			}
		})
	}
}

func TestAnEarlierVersionStaysWhereTheBrokerDoesNotTakeTheNext(t *testing.T) {
	x, waiting := memoryIndex{}, newMemoryStore()
	r := newRig(1, x, waiting, nil)
	r.put(t, object(t, `{"type":"malware","id":"malware--1","modified":"2025-01-01T00:00:00Z"}`))
	r.finish(t, pipeline.Complete)
	before := x[index.KeyOf("malware--1")]

	r = newRig(2, x, waiting, nil)
	r.queue.takes = 5000
	r.put(t, object(t, `{"type":"malware","id":"malware--1","modified":"2025-01-02T00:00:00Z","description":"`+strings.Repeat("x", 5000)+`"}`))
	if err := r.Hurry(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.put(t, object(t, `{"type":"report","id":"report--1","object_refs":["malware--1"]}`))
	r.finish(t, pipeline.Complete)
	if got := r.ids(); !slices.Equal(got, []string{"report--1"}) || len(r.queue.messages[0].refs()) != 1 {
		t.Errorf("sent %q", got)
	}
	if got := x[index.KeyOf("malware--1")]; got != before {
		t.Errorf("the index knows %+v of it, want %+v", got, before)
	}
}

func TestTheWorkNamesTheFirstOfManyThatAreLeftOut(t *testing.T) {
	r := newRig(1, memoryIndex{}, newMemoryStore(), func(c *Config) { c.BatchObjects = 10_000 })
	r.queue.takes, r.queue.hold = 5000, true
	for i := range 150 {
		r.put(t, bulky(t, i, 6000))
	}
	r.finish(t, pipeline.Complete)
	named := 0
	for _, what := range r.works.leftOut {
		if what != "" {
			named++
		}
	}
	// OpenCTI keeps a hundred errors of a work, and those of its workers need room.
	if a := r.Account(); a.Refused != 150 || len(r.works.leftOut) != 150 || named != pipeline.MaxNamed {
		t.Errorf("%d left out, %d told, %d named", a.Refused, len(r.works.leftOut), named)
	}
}

func TestARunThatSendsNothingOpensNoWorkForWhatIsTooLarge(t *testing.T) {
	r := newRig(1, memoryIndex{}, newMemoryStore(), func(c *Config) { c.MaxMessageBytes = 2000 })
	r.put(t, bulky(t, 1, 5000))
	r.finish(t, pipeline.Complete)
	if r.works.opened != 0 || len(r.works.leftOut) != 0 || r.Account().Refused != 1 {
		t.Errorf("%d works opened, %q named", r.works.opened, r.works.leftOut)
	}
}
