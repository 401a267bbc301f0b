package transform

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestWhatComesToNothingStatesNothing(t *testing.T) {
	tr := mustNew(t, upstreamConfig)
	for _, author := range []string{"", `null`, `""`, `[]`, `["identity--1"]`, `7`, `"x-custom--1"`, `"identity--0"`, `"malware--1"`} {
		for _, marking := range []string{"", `null`, `""`, `[]`, `{}`, `[null,7,"","x-custom--1","malware--1",["marking-definition--1"]]`} {
			text := `{"type":"identity","id":"identity--0"`
			if author != "" {
				text += `,"created_by_ref":` + author
			}
			if marking != "" {
				text += `,"object_marking_refs":` + marking
			}
			o := transformOne(t, tr, text+"}")
			if want := `{"type":"identity","id":"identity--0"` + withBoth + `}`; string(o.JSON) != want || o.Stated.Author != 0 || o.Stated.Level != 0 || o.Stated.Markings != 0 {
				t.Errorf("author %s, marking %s: %s, %+v", author, marking, o.JSON, o.Stated)
			}
		}
	}
}

func TestStandardMarkingsAreTheSameWhoeverBringsThem(t *testing.T) {
	tr := mustNew(t, upstreamConfig)
	levels := map[string]int{"WHITE": 2, "CLEAR": 2, "GREEN": 3, "AMBER": 4, "AMBER+STRICT": 5, "RED": 6}
	count := 0
	for id := range standardMarkings {
		count++
		definition, ok := StandardMarking(id)
		var text struct {
			ID, Name   string
			Definition map[string]string
			Words      string `json:"x_opencti_definition"`
		}
		if err := json.Unmarshal(definition.JSON, &text); err != nil || !ok || text.ID != id || definition.ID != id || definition.Type != "marking-definition" || len(definition.Refs) != 0 {
			t.Errorf("%s: %v, %+v", id, err, definition)
		}
		words := strings.TrimPrefix(text.Name+text.Words, "TLP:")
		if o := transformOne(t, tr, `{"type":"tool","id":"tool--1","object_marking_refs":["`+id+`"]}`); int(o.Stated.Level) != levels[words] || o.Stated.Level == 0 || o.Stated.Markings != 0 {
			t.Errorf("%s is %q at level %d", id, words, o.Stated.Level)
		}
		objects, err := tr.Transform(t.Context(), item(`{"type":"marking-definition","id":"`+id+`","definition_type":"tlp","definition":{"tlp":"red"},"created_by_ref":"identity--1"}`))
		if err != nil || len(objects) != 1 || !bytes.Equal(objects[0].JSON, definition.JSON) {
			t.Errorf("the copy of an item came: %v, %v", objects, err)
		}
		definition.JSON[0] = 'x'
		if again, _ := StandardMarking(id); again.JSON[0] != '{' {
			t.Errorf("a caller can change %s for the others", id)
		}
	}
	if count != 10 {
		t.Errorf("%d standard markings", count)
	}
	if _, ok := StandardMarking("marking-definition--1"); ok {
		t.Error("another marking is standard")
	}
}

func TestStatedIsWhatACopySaysItself(t *testing.T) {
	tr := mustNew(t, upstreamConfig)
	const red, green = `"marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed"`, `"marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da"`
	stated := func(members string) [5]uint32 {
		s := transformOne(t, tr, `{"type":"malware","id":"malware--1"`+members+`}`).Stated
		return [5]uint32{s.Author, uint32(s.Level), s.Markings, s.Labels, s.References}
	}
	const author, level, markings, labels, references = 0, 1, 2, 3, 4
	same := func(part int, a, b string) {
		t.Helper()
		if x, y := stated(a)[part], stated(b)[part]; x != y {
			t.Errorf("%s and %s: %d and %d", a, b, x, y)
		}
	}
	differ := func(part int, a, b string) {
		t.Helper()
		if x, y := stated(a)[part], stated(b)[part]; x == y {
			t.Errorf("%s and %s: both %d", a, b, x)
		}
	}
	if got := stated(""); got != [5]uint32{} {
		t.Errorf("nothing stated: %v", got)
	}
	differ(author, `,"created_by_ref":"identity--1"`, ``)
	differ(author, `,"created_by_ref":"identity--1"`, `,"created_by_ref":"identity--2"`)
	same(author, `,"created_by_ref":"identity--1"`, `,"created_by_ref":"identity\u002d-1","object_marking_refs":[`+red+`]`)
	if got := stated(`,"object_marking_refs":[` + green + `,` + red + `]`); got[level] != 6 || got[markings] != 0 {
		t.Errorf("red beside green: %v", got)
	}
	if got := stated(`,"object_marking_refs":["marking-definition--1"]`); got[level] != 1 || got[markings] == 0 {
		t.Errorf("another marking: %v", got)
	}
	same(markings, `,"object_marking_refs":["marking-definition--1","marking-definition--2"]`, `,"object_marking_refs":["marking-definition--2",`+green+`,"marking-definition--1"]`)
	differ(markings, `,"object_marking_refs":["marking-definition--1","marking-definition--2"]`, `,"object_marking_refs":["marking-definition--2"]`)
	const a, b = `{"source_name":"a","url":"https://a.example/"}`, `{"source_name":"b","external_id":"1"}`
	same(references, `,"external_references":[`+a+`,`+b+`]`, `,"external_references":[`+b+`,{"url":"https:\/\/a.example/","source_name":"a"},`+a+`]`)
	differ(references, `,"external_references":[`+a+`]`, `,"external_references":[`+a+`,`+b+`]`)
	differ(references, `,"external_references":[`+a+`]`, ``)
	same(references, `,"external_references":[]`, ``)
	same(labels, `,"external_references":[`+a+`]`, ``)
}

func TestLabelsAreASet(t *testing.T) {
	var h hasher
	labels := func(text string) uint32 { return h.stated([]byte(text), true, true).Labels }
	base := labels(`{"labels":["x","y"]}`)
	if base == 0 || labels(`{"labels":["y","x","y"]}`) != base || labels(`{"labels":["\u0078","y"],"external_references":[]}`) != base {
		t.Error("the same labels hash to something else")
	}
	for _, other := range []string{`{"labels":["x"]}`, `{"labels":["xy"]}`, `{"labels":["x"],"external_references":["y"]}`, `{"x_labels":["x","y"]}`} {
		if labels(other) == base {
			t.Errorf("%s hashes to the same", other)
		}
	}
}

func TestWhatLosesItsLastMarkingGetsTheDefault(t *testing.T) {
	tr := mustNew(t, Config{TLP: "red"})
	red := tr.mapping.marking.ID
	for _, c := range []struct {
		name, in, want string
		refs           []string
	}{
		{"the only one", `"object_marking_refs":["marking-definition--1"],"name":"x"`, `"object_marking_refs":["` + red + `"],"name":"x"`, []string{red}},
		{"all", `"object_marking_refs":["marking-definition--1","marking-definition--2"]`, `"object_marking_refs":["` + red + `"]`, []string{red}},
		{"one of two", `"object_marking_refs":["marking-definition--1","marking-definition--3"]`, `"object_marking_refs":["marking-definition--3"]`, []string{"marking-definition--3"}},
		{"before other references", `"object_marking_refs":["marking-definition--1"],"a_ref":"tool--2"`, `"object_marking_refs":["` + red + `"],"a_ref":"tool--2"`, []string{red, "tool--2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := transformOne(t, tr, `{"type":"tool","id":"tool--1","created_by_ref":"identity--1",`+c.in+`}`)
			got, ok := tr.WithoutRefs(o, func(ref string) bool { return ref == "marking-definition--1" || ref == "marking-definition--2" })
			if want := `{"type":"tool","id":"tool--1","created_by_ref":"identity--1",` + c.want + `}`; !ok || string(got.JSON) != want || !slices.Equal(got.Refs, append([]string{"identity--1"}, c.refs...)) {
				t.Errorf("%v, refs %v\n got %s\nwant %s", ok, got.Refs, got.JSON, want)
			}
			if got.Digest != o.Digest {
				t.Error("it counts as another content of the source")
			}
			states := o.Stated
			states.Markings = 0 // it has not said the one that went
			if got.Stated != states {
				t.Errorf("it states %+v, not %+v", got.Stated, states)
			}
		})
	}
}

func TestAStandardMarkingIsWrittenPlainly(t *testing.T) {
	for _, written := range []string{`"\u006darking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed"`, `" MARKING-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed"`, `"tlp:red"`} {
		if got := string(asMarking([]byte(written))); got != `"`+tlpRed+`"` {
			t.Errorf("%s became %s", written, got)
		}
	}
}

func TestKeysOfTwoTextsDifferWhereverTheFirstEnds(t *testing.T) {
	var s keySet
	s.clear()
	for n := range 40 { // more than a list of them is for
		s.add(key{first: fmt.Appendf(nil, "%d", n)})
	}
	if !s.add(key{first: []byte("a\x00b")}) || !s.add(key{[]byte("a"), []byte("b\x00")}) || s.add(key{[]byte("a"), []byte("b\x00")}) {
		t.Error("two keys were taken for one, or one for two")
	}
}
