package emit

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
	"github.com/opencti-connectors/threatmatch/transform"
)

// failing is a mapping that panics over one object.
func failing(m Mapping, id string) Mapping {
	fail := func(o pipeline.Object) {
		if o.ID == id {
			panic("nobody has foreseen this")
		}
	}
	sound := m
	m.WithoutRefs = func(o pipeline.Object, drop func(string) bool) (pipeline.Object, bool) {
		fail(o)
		return sound.WithoutRefs(o, drop)
	}
	m.Yield = func(o pipeline.Object, stated pipeline.Stated) pipeline.Object {
		fail(o)
		return sound.Yield(o, stated)
	}
	m.Addition = func(o pipeline.Object, part pipeline.Part) (pipeline.Object, bool) {
		fail(o)
		return sound.Addition(o, part)
	}
	m.Split = func(o pipeline.Object, most int) (int, func(int) []byte) { fail(o); return sound.Split(o, most) }
	return m
}

func TestAPanicOverAnObjectThatIsAboutToGoCostsThatObject(t *testing.T) {
	const id, relation = "report--1", `{"type":"relationship","id":"relationship--1","source_ref":"tool--1","target_ref":"malware--1"}`
	report := func(more string, s pipeline.Stated) pipeline.Object {
		o := object(t, `{"type":"report","id":"report--1","name":"x","object_refs":["tool--1"`+more+`]}`)
		o.Stated = s
		return o
	}
	many := strings.Repeat(`,"tool--1","malware--1"`, 150) // three parts
	small := func(c *Config) { c.MaxMessageBytes = 3000 }
	for _, tt := range []struct {
		name    string
		change  func(*Config)
		before  []pipeline.Object
		objects []pipeline.Object
		sent    []string // beside the tool and the malware
	}{
		{"the type of a relation", func(c *Config) {
			c.Fit = func(o pipeline.Object, _ func(string) uint8) (pipeline.Object, string, string) {
				if o.ID == "relationship--1" {
					panic("nobody has foreseen this")
				}
				return o, "", ""
			}
		}, nil, []pipeline.Object{object(t, relation), object(t, strings.ReplaceAll(relation, "relationship--1", "relationship--2"))}, []string{"relationship--2"}},
		{"what it goes without", nil, nil, []pipeline.Object{report(`,"malware--9"`, pipeline.Stated{})}, nil},
		{"what it leaves to others", nil,
			[]pipeline.Object{report("", pipeline.Stated{Level: 6})}, []pipeline.Object{report(`,"malware--1"`, pipeline.Stated{Level: 2})}, nil},
		{"what it adds to others", nil, []pipeline.Object{report("", pipeline.Stated{})}, []pipeline.Object{report("", pipeline.Stated{Labels: 1})}, nil},
		{"where its parts begin", small, nil, []pipeline.Object{report(many, pipeline.Stated{})}, nil},
		{"a part of it", func(c *Config) {
			small(c)
			c.Mapping = testMapping()
			c.Mapping.Split = func(o pipeline.Object, most int) (int, func(int) []byte) {
				n, text := transform.Split(o, most)
				return n, func(part int) []byte {
					if part == 1 {
						panic("nobody has foreseen this")
					}
					return text(part)
				}
			}
		}, nil, []pipeline.Object{report(many, pipeline.Stated{})}, []string{id, id}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			core, logged := observer.New(zapcore.ErrorLevel)
			r := deliveredBefore(t, 0, func(c *Config) {
				c.Log, c.Mapping = zap.New(core), failing(testMapping(), id)
				if tt.change != nil {
					tt.change(c)
				}
			}, slices.Concat([]pipeline.Object{object(t, hubText), object(t, toolText)}, tt.before)...)
			outcomes := r.put(t, tt.objects...)
			r.finish(t, pipeline.Complete)
			if !isDelivered(outcomes) || !slices.Equal(r.ids(), tt.sent) || r.Account().Broken != 1 {
				t.Errorf("%v, sent %v, %d broken", *outcomes, r.ids(), r.Account().Broken)
			}
			if rec, found := r.index.Lookup(index.KeyOf(id)); found && rec.Run == 8 && rec.Mark != index.Lost {
				t.Errorf("it counts as delivered: %+v", rec)
			}
			if logged.Len() != 1 || !strings.Contains(fmt.Sprint(logged.All()[0].ContextMap()["stack"]), "guard_test.go") {
				t.Errorf("told: %v", logged.All())
			}
			if expected, _ := r.works.Expectations(t.Context(), ""); expected != len(r.queue.messages)+len(r.works.leftOut) {
				t.Errorf("the work expects %d messages of %d, with %d left out", expected, len(r.queue.messages), len(r.works.leftOut))
			}
		})
	}
}
