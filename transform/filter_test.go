package transform

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

const (
	red   = `"object_marking_refs":["marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed"]`
	green = `"object_marking_refs":["marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da"]`
)

// thrownOut maps an item and returns the ids that pass, but for author and marking, and the reasons for the others.
func thrownOut(t *testing.T, c Config, text string) (passed []string, left pipeline.Tally) {
	t.Helper()
	tr := mustNew(t, c)
	objects, err := tr.Transform(t.Context(), item(text))
	left = pipeline.Tally{}
	for _, e := range unjoined(err) {
		var told pipeline.Intended
		if !errors.As(e, &told) || !told.Intended() {
			t.Errorf("not by a filter: %v", e)
			continue
		}
		why, n := told.LeftOut()
		left = left.With(why, int64(n))
	}
	filtered := 0
	for _, o := range objects {
		switch {
		case o.Filtered != pipeline.Wanted:
			filtered++
		case o.ID != tr.mapping.author.ID && o.Type != "marking-definition":
			passed = append(passed, o.ID)
		}
	}
	if int64(filtered) != left.Total() {
		t.Errorf("%d objects are said to be filtered, and %v counted", filtered, left)
	}
	return passed, left
}

func unjoined(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

func TestEachFilterLeavesOutWhatItNames(t *testing.T) {
	object := func(typ, members string) string {
		if members != "" {
			members = "," + members
		}
		return fmt.Sprintf(`{"type":%q,"id":%q%s}`, typ, typ+"--1", members)
	}
	for _, c := range []struct {
		name    string
		filters Filters
		object  string
		why     pipeline.Reason // "" where it passes
	}{
		{"no filter", Filters{}, object("tool", red+`,"confidence":0,"labels":["a"]`), ""},
		{"as strict", Filters{MaxTLP: "amber"}, object("tool", ""), ""},
		{"stricter", Filters{MaxTLP: "amber+strict"}, object("tool", red), AboveMaxTLP},
		{"stricter by name", Filters{MaxTLP: "amber"}, object("tool", `"object_marking_refs":["TLP:RED"]`), AboveMaxTLP},
		{"the strictest counts", Filters{MaxTLP: "green"}, object("tool", `"object_marking_refs":["TLP:CLEAR","TLP:AMBER"]`), AboveMaxTLP},
		{"less strict than the default", Filters{MaxTLP: "green"}, object("tool", green), ""},
		{"unmarked, and the default is stricter", Filters{MaxTLP: "green"}, object("tool", ""), AboveMaxTLP},
		{"another marking", Filters{MaxTLP: "clear"}, object("tool", `"object_marking_refs":["marking-definition--7"]`), ""},
		{"a relation", Filters{MaxTLP: "amber"}, object("relationship", red+`,"source_ref":"tool--1","target_ref":"tool--2"`), AboveMaxTLP},
		{"an identity", Filters{MaxTLP: "amber"}, object("identity", red), AboveMaxTLP},
		{"a marking definition", Filters{MaxTLP: "clear"}, object("marking-definition", `"definition_type":"statement"`), ""},

		{"one of the types", Filters{Types: []string{"tool"}}, object("tool", ""), ""},
		{"another type", Filters{Types: []string{"tool"}}, object("malware", ""), NotOfTypes},
		{"an actor is what it becomes", Filters{Types: []string{"threat-actor"}}, object("threat-actor", ""), ""},
		{"an intrusion set as well", Filters{Types: []string{"threat-actor"}}, object("intrusion-set", ""), ""},
		{"relations come with the types", Filters{Types: []string{"tool"}}, object("relationship", `"source_ref":"tool--1","target_ref":"tool--2"`), ""},
		{"identities come with the types", Filters{Types: []string{"tool"}}, object("identity", ""), ""},
		{"excluded", Filters{ExcludeTypes: []string{"tool"}}, object("tool", ""), OfExcludedType},
		{"excluded identity", Filters{ExcludeTypes: []string{"identity"}}, object("identity", ""), OfExcludedType},
		{"not excluded", Filters{ExcludeTypes: []string{"tool"}}, object("malware", ""), ""},

		{"confident", Filters{MinConfidence: 50}, object("tool", `"confidence":50`), ""},
		{"not confident", Filters{MinConfidence: 50}, object("tool", `"confidence":49.5`), BelowMinConfidence},
		{"a confidence in quotes", Filters{MinConfidence: 50}, object("tool", `"confidence":"20"`), BelowMinConfidence},
		{"no confidence", Filters{MinConfidence: 50}, object("tool", `"confidence":null`), ""},
		{"an odd confidence", Filters{MinConfidence: 50}, object("tool", `"confidence":["x"]`), ""},
		{"a relation's confidence", Filters{MinConfidence: 50}, object("relationship", `"confidence":1,"source_ref":"tool--1","target_ref":"tool--2"`), BelowMinConfidence},
		{"an identity's confidence", Filters{MinConfidence: 50}, object("identity", `"confidence":1`), ""},
		{"scored", Filters{MinScore: 50}, object("indicator", `"x_opencti_score":60`), ""},
		{"scored low", Filters{MinScore: 50}, object("indicator", `"x_opencti_score":40`), BelowMinScore},
		{"scored low in OpenCTI's extension", Filters{MinScore: 50}, object("indicator", `"extensions":{"`+openctiExtension+`":{"score":40}}`), BelowMinScore},
		{"not scored", Filters{MinScore: 50}, object("indicator", ""), ""},

		{"tagged", Filters{Tags: []string{" Espionage", "x"}}, object("malware", `"labels":["y"," eSPIONAGE "]`), ""},
		{"tagged otherwise", Filters{Tags: []string{"espionage"}}, object("malware", `"labels":["y"]`), WithoutTag},
		{"not tagged", Filters{Tags: []string{"espionage"}}, object("indicator", ""), WithoutTag},
		{"of a type that is not labelled", Filters{Tags: []string{"espionage"}}, object("attack-pattern", ""), ""},
		{"by a technique", Filters{Tags: []string{"T1078 - Valid Accounts"}}, object("report", `"labels":["T1078 - Valid Accounts"]`), ""},
		{"with an excluded tag", Filters{ExcludeTags: []string{"Test"}}, object("malware", `"labels":["y","test"]`), WithExcludedTag},
		{"without an excluded tag", Filters{ExcludeTags: []string{"Test"}}, object("malware", `"labels":["tests"]`), ""},
		{"the marking first of all", Filters{MaxTLP: "amber", Tags: []string{"y"}}, object("malware", red), AboveMaxTLP},
		{"with both", Filters{Tags: []string{"y"}, ExcludeTags: []string{"Test"}}, object("malware", `"labels":["y","test"]`), WithExcludedTag},
		{"labels that are dropped", Filters{ExcludeTags: []string{"test"}}, object("malware", `"labels":["test"]`), WithExcludedTag},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, labels := range []Labels{LabelsAsKnowledge, LabelsDropped} {
				passed, left := thrownOut(t, Config{TLP: "amber", ThreatActorAsIntrusionSet: true, Labels: labels, Filters: c.filters}, "["+c.object+"]")
				want := pipeline.Tally{}.With(c.why, 1)
				if c.why == "" {
					want = pipeline.Tally{}
				}
				if !maps.Equal(left, want) || c.why != "" && len(passed) > 0 {
					t.Errorf("left out %v, want %v; passed %v", left, want, passed)
				}
			}
		})
	}
}

func TestTheOwnAuthorIsNeverFiltered(t *testing.T) {
	tr := mustNew(t, Config{TLP: "red", Filters: Filters{MaxTLP: "clear", ExcludeTypes: []string{"identity"}}})
	objects, err := tr.Transform(t.Context(), item(`[`+authorJSON+`,{"type":"tool","id":"tool--1","object_marking_refs":["TLP:CLEAR"]}]`))
	if err != nil || len(objects) != 2 || objects[0].ID != tr.mapping.author.ID || objects[1].ID != "tool--1" {
		t.Errorf("%v, %v", objects, err)
	}
}

func TestNothingIsDerivedOfWhatAFilterLeavesOut(t *testing.T) {
	const in = `[{"type":"malware","id":"malware--1","labels":["T1078 - Valid Accounts"],"object_refs":["indicator--1"]},
		{"type":"tool","id":"tool--1"}]`
	for _, c := range []struct {
		filters Filters
		want    string
	}{
		{Filters{}, "malware tool attack-pattern relationship relationship"},
		{Filters{ExcludeTypes: []string{"malware"}}, "tool"},
		{Filters{ExcludeTypes: []string{"attack-pattern"}}, "malware tool relationship"},
		{Filters{ExcludeTypes: []string{"relationship"}}, "malware tool attack-pattern"},
		{Filters{Types: []string{"malware"}}, "malware relationship"},
	} {
		passed, _ := thrownOut(t, Config{TLP: "amber", Filters: c.filters}, in)
		for i, id := range passed {
			passed[i], _, _ = strings.Cut(id, "--")
		}
		if got := strings.Join(passed, " "); got != c.want {
			t.Errorf("%+v: %s, want %s", c.filters, got, c.want)
		}
	}
}

func TestWhatAFilterLeavesOutComesFirstWithWhatItStates(t *testing.T) {
	tr := mustNew(t, Config{TLP: "amber", Filters: Filters{MaxTLP: "amber", MinConfidence: 50}})
	objects, err := tr.Transform(t.Context(), item(`[{"type":"tool","id":"tool--1"},{"type":"tool","id":"tool--1",`+red+`},
		{"type":"tool","id":"tool--2","confidence":1,"modified":"2025-01-01T00:00:00Z","x_opencti_id":"two"}]`))
	if err == nil || len(objects) != 5 {
		t.Fatalf("%v, %v", objects, err)
	}
	strict, unwanted := objects[0], objects[1]
	if strict.ID != "tool--1" || strict.Filtered != pipeline.TooStrict || strict.Stated.Level != levelRed || len(strict.JSON) == 0 {
		t.Errorf("%+v", strict)
	}
	if len(unwanted.JSON) > 0 {
		t.Error("what states no marking has nothing to keep")
	}
	if unwanted.ID != "tool--2" || unwanted.Filtered != pipeline.Unwanted || unwanted.AltID != "two" || unwanted.Modified.IsZero() {
		t.Errorf("%+v", unwanted)
	}
	named := err.Error()
	if !strings.Contains(named, "tool--1 of profiles 1: is marked TLP:RED") || !strings.Contains(named, "tool--2 of profiles 1: has a confidence of 1") {
		t.Errorf("named as %s", named)
	}
}

func TestAFilterThatCannotBeMeantIsRefused(t *testing.T) {
	for _, f := range []Filters{{MaxTLP: "purple"}, {Types: []string{"indicators"}}, {ExcludeTypes: []string{"marking-definition"}}} {
		if _, err := New(Config{TLP: "amber", Filters: f}); err == nil {
			t.Errorf("%+v is taken", f)
		}
	}
}

func TestAWiderFilterLetsNoLessThrough(t *testing.T) {
	tr := mustNew(t, Config{TLP: "amber", Descriptions: HTML})
	rapid.Check(t, func(t *rapid.T) {
		in := drawItem.Draw(t, "item")
		least := rapid.IntRange(0, 100).Draw(t, "confidence")
		in = strings.Replace(in, `"id":`, fmt.Sprintf(`"confidence":%d,"id":`, rapid.IntRange(0, 100).Draw(t, "stated")), 1)
		narrow, err := New(Config{TLP: "amber", Descriptions: HTML, Filters: Filters{MinConfidence: least, MaxTLP: rapid.SampledFrom(TLPLevels()).Draw(t, "max"), ExcludeTypes: []string{"tool"}}})
		if err != nil {
			t.Fatal(err)
		}
		all, _ := tr.Transform(t.Context(), item(in))
		some, _ := narrow.Transform(t.Context(), item(in))
		for _, o := range some {
			if o.Filtered == pipeline.Wanted && !slices.ContainsFunc(all, func(a pipeline.Object) bool { return a.ID == o.ID && string(a.JSON) == string(o.JSON) }) {
				t.Fatalf("%s comes with filters only, or otherwise:\n%s", o.ID, o.JSON)
			}
		}
	})
}
