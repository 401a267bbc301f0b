package transform

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

var ids = []string{"malware--1", "tool--1", "threat-actor--1", "intrusion-set--2", "relationship--1", "x-custom--1", "identity--1", "loose"}

// drawValue draws the text of a JSON value; names are unique.
func drawValue(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		kinds := 5
		if depth == 0 {
			kinds = 3
		}
		switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
		case 0:
			return string(appendQuoted(nil, rapid.String().Draw(t, "text")))
		case 1:
			return rapid.SampledFrom([]string{"0", "-1.50", "1E400", "9007199254740993", "true", "null"}).Draw(t, "literal")
		case 2:
			return `"` + rapid.SampledFrom(ids).Draw(t, "id") + `"`
		case 3:
			return "[" + strings.Join(rapid.SliceOfN(drawValue(depth-1), 0, 4).Draw(t, "list"), ",") + "]"
		}
		return drawObject(t, depth-1, nil)
	})
}

var names = []string{"name", "description", "labels", "a_ref", "b_refs", "object_refs", "created_by_ref", "object_marking_refs",
	"external_references", "kill_chain_phases", "source_ref", "target_ref", "where_sighted_refs", "sighting_of_ref", "x_opencti_id",
	"modified", "threat_actor_types", "aliases", "x_opencti_aliases", "pattern", "pattern_type", "x_opencti_main_observable_type",
	`q"\`, "ü"}

func drawObject(t *rapid.T, depth int, first []string) string {
	members := slices.Clone(first)
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 8, rapid.ID[string]).Draw(t, "names") {
		value := drawValue(depth).Draw(t, "value")
		if rapid.Bool().Draw(t, "likely") {
			switch {
			case strings.HasSuffix(name, "_refs"):
				value = `["` + strings.Join(rapid.SliceOfN(rapid.SampledFrom(ids), 0, 5).Draw(t, "refs"), `","`) + `"]`
				value = strings.Replace(value, `[""]`, `[]`, 1)
			case strings.HasSuffix(name, "_ref"), name == "description":
				value = `"` + rapid.SampledFrom(ids).Draw(t, "ref") + `"`
			}
		}
		members = append(members, string(appendQuoted(nil, name))+":"+value)
	}
	return "{" + strings.Join(members, ",") + "}"
}

var drawItem = rapid.Custom(func(t *rapid.T) string {
	var objects []string
	for range rapid.IntRange(0, 5).Draw(t, "objects") {
		id := rapid.SampledFrom(ids).Draw(t, "own id")
		typ, _, _ := strings.Cut(id, "--")
		objects = append(objects, drawObject(t, 2, []string{`"type":"` + typ + `"`, `"id":"` + id + `"`}))
	}
	return "[" + strings.Join(objects, ",") + "]"
})

func TestOutputIsValidCompleteAndSettled(t *testing.T) {
	for _, format := range []Format{Markdown, Text, HTML} {
		tr := mustNew(t, Config{TLP: "red", ThreatActorAsIntrusionSet: true, Descriptions: format})
		rapid.Check(t, func(t *rapid.T) {
			in := drawItem.Draw(t, "item")
			objects, _ := tr.Transform(t.Context(), item(in))
			known := item(in) // as from a source that has read it strictly, if it could
			known.Strict = jsontext.Value(in).IsValid(strict...)
			again, _ := tr.Transform(t.Context(), known)
			seen := make(map[copyKey]bool)
			for i, o := range objects {
				checkObject(t, o)
				key := copyKey{tr.recall.keyOf(o.JSON), o.Stated}
				if seen[key] {
					t.Fatalf("%s comes twice in the same form", o.ID)
				}
				seen[key] = true
				if !bytes.Equal(o.JSON, again[i].JSON) || o.Digest != again[i].Digest || !slices.Equal(o.Refs, again[i].Refs) {
					t.Fatalf("not the same twice: %s", in)
				}
				if format == HTML && o.ID != tr.mapping.author.ID && o.ID != tr.mapping.marking.ID {
					settled, err := tr.Transform(t.Context(), pipeline.Item{Data: o.JSON})
					if err != nil || !bytes.Equal(settled[len(settled)-1].JSON, o.JSON) || settled[len(settled)-1].Digest != o.Digest {
						t.Fatalf("mapped again it changes: %v\n%s\n%s", err, o.JSON, settled[len(settled)-1].JSON)
					}
				}
			}
		})
	}
}

type fataler interface {
	Fatalf(format string, args ...any)
}

// checkObject checks what every object promises: strict compact JSON, and fields that say what the text says.
func checkObject(t fataler, o pipeline.Object) {
	compact := jsontext.Value(bytes.Clone(o.JSON))
	if err := compact.Compact(jsontext.AllowDuplicateNames(false), jsontext.AllowInvalidUTF8(false)); err != nil || !bytes.Equal(compact, o.JSON) {
		t.Fatalf("%v in %s", err, o.JSON)
	}
	members, _ := appendMembers(nil, o.JSON)
	var refs []string
	if _, standard := StandardMarking(o.ID); !standard && o.ID != constant(authorJSON).ID && len(markingsOf(o)) == 0 {
		t.Fatalf("unmarked: %s", o.JSON)
	}
	for _, m := range members {
		var values [][]byte
		switch {
		case isNull(m.value),
			string(m.name) == "id" && string(unquote(m.value)) != o.ID,
			string(m.name) == "type" && string(unquote(m.value)) != o.Type,
			string(m.name) == "labels" && !areLabels(m.value),
			string(m.name) == "object_refs" && !knownTypes[o.Type].holds:
			t.Fatalf("%s is wrong in %s", m.name, o.JSON)
		case bytes.HasSuffix(m.name, []byte("_refs")):
			values = slices.Collect(elements(m.value))
		case bytes.HasSuffix(m.name, []byte("_ref")):
			values = [][]byte{m.value}
		}
		for _, v := range values {
			ref := string(unquote(v))
			if !isString(v) || ref == o.ID || strings.HasPrefix(ref, "x-custom") {
				t.Fatalf("%s refers to %s", o.JSON, v)
			}
			if !slices.Contains(refs, ref) {
				refs = append(refs, ref)
			}
		}
	}
	if !slices.Equal(refs, o.Refs) {
		t.Fatalf("refs %v, in the text %v", o.Refs, refs)
	}
}

// areLabels says whether a member holds labels as they are sent: texts without blanks around them, each once, at least one.
func areLabels(value []byte) bool {
	seen := make(map[string]bool)
	for e := range elements(value) {
		label := string(unquote(e))
		if !isString(e) || strings.TrimSpace(label) != label || label == "" || seen[label] {
			return false
		}
		seen[label] = true
	}
	return len(seen) > 0
}

func TestWithoutRefsTakesExactlyThoseAway(t *testing.T) {
	tr := mustNew(t, Config{TLP: "red"})
	rapid.Check(t, func(t *rapid.T) {
		objects, _ := tr.Transform(t.Context(), item(drawItem.Draw(t, "item")))
		for _, o := range objects {
			gone := make(map[string]bool)
			for _, ref := range o.Refs {
				gone[ref] = rapid.Bool().Draw(t, "drop")
			}
			before := bytes.Clone(o.JSON)
			got, _ := tr.WithoutRefs(o, func(ref string) bool { return gone[ref] })
			checkObject(t, got)
			if !bytes.Equal(before, o.JSON) {
				t.Fatalf("the original changed")
			}
			want := slices.DeleteFunc(slices.Clone(o.Refs), func(ref string) bool { return gone[ref] })
			if !slices.ContainsFunc(markingsOf(o), func(ref string) bool { return !gone[ref] }) && len(markingsOf(o)) > 0 {
				want = append(want, tr.mapping.marking.ID)
			}
			left := slices.Sorted(slices.Values(got.Refs))
			if slices.Sort(want); !slices.Equal(left, slices.Compact(want)) || got.Digest != o.Digest {
				t.Fatalf("left %v of %v, want %v", got.Refs, o.Refs, want)
			}
			notRef := func(text []byte) string {
				members, _ := appendMembers(nil, text)
				var all []byte
				for _, m := range members {
					if !bytes.HasSuffix(m.name, []byte("_ref")) && !bytes.HasSuffix(m.name, []byte("_refs")) {
						all = fmt.Appendf(all, "%s:%s,", m.quoted, m.value)
					}
				}
				return string(all)
			}
			if notRef(got.JSON) != notRef(o.JSON) {
				t.Fatalf("something else changed:\n%s\n%s", o.JSON, got.JSON)
			}
		}
	})
}

// markingsOf lists the markings in an object's text.
func markingsOf(o pipeline.Object) (refs []string) {
	members, _ := appendMembers(nil, o.JSON)
	for _, m := range members {
		if string(m.name) == markingKey {
			for e := range elements(m.value) {
				refs = append(refs, string(unquote(e)))
			}
		}
	}
	return refs
}

func TestARelationWithoutAnEndMustNotBeSent(t *testing.T) {
	tr := mustNew(t, upstreamConfig)
	for _, c := range []struct {
		in, drop string
		ok       bool
	}{
		{`{"type":"relationship","id":"relationship--1","source_ref":"tool--1","target_ref":"tool--2"}`, "tool--1", false},
		{`{"type":"relationship","id":"relationship--1","source_ref":"tool--1","target_ref":"tool--2"}`, "tool--2", false},
		{`{"type":"relationship","id":"relationship--1","source_ref":"tool--1","target_ref":"tool--2","created_by_ref":"identity--1"}`, "identity--1", true},
		{`{"type":"sighting","id":"sighting--1","sighting_of_ref":"tool--1","where_sighted_refs":["identity--1","identity--2"]}`, "identity--1", true},
		{`{"type":"sighting","id":"sighting--1","sighting_of_ref":"tool--1","where_sighted_refs":["identity--1"]}`, "identity--1", false},
		{`{"type":"sighting","id":"sighting--1","sighting_of_ref":"tool--1","where_sighted_refs":["identity--1"]}`, "tool--1", false},
		{`{"type":"malware","id":"malware--1","source_ref":"tool--1"}`, "tool--1", true},
	} {
		o, ok := tr.WithoutRefs(transformOne(t, tr, c.in), func(ref string) bool { return ref == c.drop })
		if ok != c.ok || slices.Contains(o.Refs, c.drop) || bytes.Contains(o.JSON, []byte(c.drop)) {
			t.Errorf("%s without %s: %v, %s", c.in, c.drop, ok, o.JSON)
		}
	}
	if _, ok := tr.WithoutRefs(pipeline.Object{JSON: []byte(`{"a_ref":`), Refs: []string{"x"}}, func(string) bool { return true }); ok {
		t.Error("a text that is none was taken")
	}
}

func TestADigestTellsContentsApart(t *testing.T) {
	tr := mustNew(t, Config{TLP: "amber", ThreatActorAsIntrusionSet: true})
	digest := func(text string) uint64 { return transformOne(t, tr, text).Digest }
	base := digest(`{"type":"intrusion-set","id":"intrusion-set--1","modified":"2025-01-01T00:00:00Z","name":"é","x":{"a":1,"b":[{"c":2,"d":3}]}}`)
	for _, same := range []string{
		`{"x":{"b":[{"d":3,"c":2}],"a":1},"name":"\u00e9","modified":"2025-01-01T00:00:00Z","id":"intrusion-set--1", "type":"intrusion-set"}`,
		`{"type":"threat-actor","id":"threat-actor--1","labels":["x"],"threat_actor_types":["spy"],"created_by_ref":"identity--1","object_marking_refs":[],"modified":"2025-01-01T00:00:00Z","name":"é","x":{"a":1,"b":[{"c":2,"d":3}]}}`,
		`{"type":"intrusion-set","id":"intrusion-set--1","modified":"2025-01-01T00:00:00Z","n\u0061me":"é","x":{"a":1,"b":[{"c":2,"d":3}]},"\u006cabels":["x"]}`,
	} {
		if digest(same) != base {
			t.Errorf("another digest: %s", same)
		}
	}
	for _, other := range []string{
		`{"type":"intrusion-set","id":"intrusion-set--1","modified":"2025-01-01T00:00:01Z","name":"é","x":{"a":1,"b":[{"c":2,"d":3}]}}`,
		`{"type":"intrusion-set","id":"intrusion-set--1","modified":"2025-01-01T00:00:00Z","name":"e","x":{"a":1,"b":[{"c":2,"d":3}]}}`,
		`{"type":"intrusion-set","id":"intrusion-set--1","modified":"2025-01-01T00:00:00Z","name":"é","x":{"a":1.0,"b":[{"c":2,"d":3}]}}`,
		`{"type":"intrusion-set","id":"intrusion-set--1","modified":"2025-01-01T00:00:00Z","name":"é","x":{"a":1,"b":[{"c":2},{"d":3}]}}`,
		`{"type":"intrusion-set","id":"intrusion-set--1","modified":"2025-01-01T00:00:00Z","name":"é","x":{"a":1,"b":[{"c":2,"d":3}],"labels":1}}`,
	} {
		if digest(other) == base {
			t.Errorf("the same digest: %s", other)
		}
	}
	kept := mustNew(t, Config{TLP: "amber"})
	a := transformOne(t, kept, `{"type":"threat-actor","id":"threat-actor--1","threat_actor_types":["spy"]}`)
	if b := transformOne(t, kept, `{"type":"threat-actor","id":"threat-actor--1"}`); a.Digest == b.Digest {
		t.Error("a threat actor that stays one has types that count")
	}
}

func FuzzTransform(f *testing.F) {
	for _, seed := range []string{
		`[{"type":"threat-actor","id":"threat-actor--1","description":"<p>x &amp; y</p>","labels":["x"]}]`,
		`{"type":"relationship","id":"relationship--1","source_ref":"threat-actor--1","target_ref":"tool--1","relationship_type":"associated_content"}`,
		`[{"type":"report","id":"report--1","object_refs":["\u0074ool--1",null,[]],"external_references":[{"url":"u"},{}],"kill_chain_phases":3}]`,
		"[{\"id\":\"malware--1\",\"id\":\"malware--2\",\"type\":\"malware\",\"x\":\"\xff\\ud800\"}]",
		`[[],{},"",1E400,{"":{"":[{}]}}]`,
	} {
		f.Add([]byte(seed))
	}
	var all []*Transformer
	for _, format := range []Format{Markdown, Text} {
		all = append(all, mustNew(f, Config{TLP: "amber+strict", ThreatActorAsIntrusionSet: true, Descriptions: format}))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, tr := range all {
			objects, _ := tr.Transform(t.Context(), pipeline.Item{Data: data})
			for _, o := range objects {
				if strings.Contains(string(o.JSON), "x-custom") {
					continue
				}
				checkObject(t, o)
				tr.WithoutRefs(o, func(ref string) bool { return len(ref)%2 == 0 })
			}
		}
	})
}
