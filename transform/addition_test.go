package transform

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// everyPart are the parts and what joins them.

func TestAnAdditionIsWhatIdentifiesTheObjectAndThePart(t *testing.T) {
	tr := mustNew(t, Config{TLP: "amber", Descriptions: HTML})
	const references = `"external_references":[{"source_name":"a","url":"https://a.example/"}]`
	const author, marking = `"created_by_ref":"identity--1"`, `"object_marking_refs":["marking-definition--1"]`
	for _, c := range []struct {
		name, in string
		what     pipeline.Part
		want     string
		refs     []string
	}{
		{"references of an indicator", `"type":"indicator","spec_version":"2.1","id":"indicator--1","modified":"2025-01-01T00:00:00Z","name":"n","description":"d","pattern":"[a:b = 'c']","pattern_type":"stix","valid_from":"2025-01-01T00:00:00Z","valid_until":"2026-01-01T00:00:00Z","confidence":5,` + references + `,` + author, pipeline.References | pipeline.Labels,
			`"type":"indicator","spec_version":"2.1","id":"indicator--1","name":"n","pattern":"[a:b = 'c']","pattern_type":"stix","valid_from":"2025-01-01T00:00:00Z",` + references, []string{"indicator--1"}},
		{"author of a relation", `"type":"relationship","id":"relationship--1","relationship_type":"uses","source_ref":"tool--1","target_ref":"malware--1","description":"d",` + author + `,` + marking, pipeline.Author,
			`"type":"relationship","id":"relationship--1","relationship_type":"uses","source_ref":"tool--1","target_ref":"malware--1",` + author, []string{"relationship--1", "tool--1", "malware--1", "identity--1"}},
		{"markings of a file", `"type":"file","id":"file--1","hashes":{"MD5":"x"},"size":5,"name":"n",` + marking + `,` + author, pipeline.Markings,
			`"type":"file","id":"file--1","hashes":{"MD5":"x"},"name":"n",` + marking, []string{"file--1", "marking-definition--1"}},
		{"both", `"type":"ipv4-addr","id":"ipv4-addr--1","value":"192.0.2.1","x_opencti_score":5,` + marking + `,` + author, pipeline.Markings | pipeline.Author,
			`"type":"ipv4-addr","id":"ipv4-addr--1","value":"192.0.2.1",` + marking + `,` + author, []string{"ipv4-addr--1", "marking-definition--1", "identity--1"}},
		{"of two parts what is stated", `"type":"report","id":"report--1","name":"n","published":"2025-01-01T00:00:00Z","object_refs":["tool--1"],` + author, pipeline.Markings | pipeline.Author | pipeline.Labels,
			`"type":"report","id":"report--1","name":"n","published":"2025-01-01T00:00:00Z",` + author, []string{"report--1", "identity--1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := transformOne(t, tr, "{"+c.in+"}")
			a, ok := Addition(o, c.what)
			_, hash, _ := strings.Cut(a.ID, "\n")
			if want := "{" + c.want + "}"; !ok || string(a.JSON) != want || !slices.Equal(a.Refs, c.refs) {
				t.Errorf("%v, refs %v\n got %s\nwant %s", ok, a.Refs, a.JSON, want)
			}
			if a.ID != AdditionID(o.ID, c.what, o.Stated) || len(hash) != 16 || a.Type != o.Type || a.Digest == 0 || !a.Modified.IsZero() {
				t.Errorf("%+v", a)
			}
		})
	}
}

func TestNothingStatedIsNothingToAdd(t *testing.T) {
	tr := mustNew(t, upstreamConfig)
	plain := transformOne(t, tr, `{"type":"tool","id":"tool--1","name":"n","external_references":[]}`)
	authored := transformOne(t, tr, `{"type":"tool","id":"tool--1","name":"n","created_by_ref":"identity--1"}`)
	for name, c := range map[string]struct {
		o    pipeline.Object
		what pipeline.Part
	}{
		"a copy that states nothing": {plain, pipeline.Labels | pipeline.Author | pipeline.Markings}, "no part": {authored, 0}, "another part": {authored, pipeline.Labels | pipeline.Markings},
		"a marking": {transformOne(t, tr, `{"type":"marking-definition","id":"marking-definition--1","created_by_ref":"identity--1"}`), pipeline.Author},
		"no text":   {pipeline.Object{ID: "tool--1", Type: "tool", Stated: pipeline.Stated{Author: 1}, JSON: []byte("{")}, pipeline.Author},
	} {
		if a, ok := Addition(c.o, c.what); ok {
			t.Errorf("%s: %s", name, a.JSON)
		}
	}
	a, _ := Addition(authored, pipeline.Author)
	a.Stated = authored.Stated
	if again, ok := Addition(a, pipeline.Author); ok {
		t.Errorf("an addition has an addition: %s", again.JSON)
	}
}

func TestAnAdditionsIDDependsOnTheObjectAndWhatIsStatedAlone(t *testing.T) {
	base := pipeline.Stated{Author: 1, Level: 2, Markings: 3, Labels: 4}
	id := AdditionID("tool--1", pipeline.Labels, base)
	if AdditionID("tool--1", pipeline.Labels, pipeline.Stated{Labels: 4}) != id || AdditionID("tool--1", pipeline.Labels|pipeline.Author, pipeline.Stated{Labels: 4}) != id {
		t.Error("what is no part of it, or not stated, counts")
	}
	seen := map[string]bool{id: true}
	for _, other := range []string{
		AdditionID("tool--2", pipeline.Labels, base), AdditionID("tool--1", pipeline.Labels, pipeline.Stated{Labels: 5}), AdditionID("tool--1", pipeline.Author, base),
		AdditionID("tool--1", pipeline.Markings, base), AdditionID("tool--1", pipeline.Markings, pipeline.Stated{Level: 3, Markings: 3}),
		AdditionID("tool--1", pipeline.Markings, pipeline.Stated{Level: 2}), AdditionID("tool--1", pipeline.Author|pipeline.Markings, base), AdditionID("tool--1", pipeline.Author, pipeline.Stated{Author: 4}),
	} {
		if seen[other] || !strings.Contains(other, "\n") {
			t.Errorf("%q is of another", other)
		}
		seen[other] = true
	}
}

func TestAnAdditionIsReadBackAsItWasSent(t *testing.T) {
	tr := mustNew(t, Config{TLP: "red", ThreatActorAsIntrusionSet: true, Descriptions: Markdown})
	rapid.Check(t, func(t *rapid.T) {
		objects, _ := tr.Transform(t.Context(), item(drawItem.Draw(t, "item")))
		for _, o := range objects {
			a, ok := Addition(o, rapid.SampledFrom([]pipeline.Part{pipeline.Labels, pipeline.References, pipeline.Author, pipeline.Markings}).Draw(t, "part"))
			if !ok {
				continue
			}
			if a.Refs[0] != o.ID || slices.Contains(a.Refs[1:], o.ID) {
				t.Fatalf("%s does not follow its object: %v", a.JSON, a.Refs)
			}
			read, err := Reread(reported(t, a.JSON))
			got, is := AsAddition(read)
			if err != nil || !is || got.ID != a.ID || got.Type != a.Type || !bytes.Equal(got.JSON, a.JSON) || !slices.Equal(got.Refs, a.Refs) || got.AltID != "" || !got.Modified.IsZero() {
				t.Fatalf("%v\n got %+v %s\nwant %+v %s", err, got, got.JSON, a, a.JSON)
			}
		}
	})
}

func TestWhatSaysMoreThanAnAdditionIsNone(t *testing.T) {
	for text, want := range map[string]bool{
		`{"type":"malware","id":"malware--1","name":"n","labels":["x"]}`:                                   true,
		`{"type":"malware","id":"malware--1","name":"n","labels":["x"],"description":"d"}`:                 false,
		`{"type":"malware","id":"malware--1","name":"n","labels":["x"],"modified":"2025-01-01T00:00:00Z"}`: false,
		`{"type":"malware","id":"malware--1","name":"n","labels":["x"],"created_by_ref":"identity--1"}`:    false,
		`{"type":"malware","id":"malware--1","name":"n"}`:                                                  false,
	} {
		o, err := Reread([]byte(text))
		if _, is := AsAddition(o); err != nil || is != want {
			t.Errorf("%s: %t, %v", text, is, err)
		}
	}
}

func TestAnAdditionIsNotSentWithoutItsObjectOrWhatItAdds(t *testing.T) {
	tr := mustNew(t, upstreamConfig)
	const relation = `{"type":"relationship","id":"relationship--1","relationship_type":"uses","source_ref":"tool--1","target_ref":"malware--1","created_by_ref":"identity--1","object_marking_refs":["marking-definition--1","marking-definition--2"]}`
	for _, c := range []struct {
		what pipeline.Part
		drop string
		ok   bool
	}{
		{pipeline.Author, "relationship--1", false}, {pipeline.Author, "tool--1", false}, {pipeline.Author, "malware--1", false}, {pipeline.Author, "identity--1", false},
		{pipeline.Author | pipeline.Markings, "identity--1", true}, {pipeline.Markings, "marking-definition--1", true}, {pipeline.Markings, "marking-definition--1 marking-definition--2", false},
		{pipeline.Author | pipeline.Markings, "marking-definition--1 marking-definition--2", true}, {pipeline.Author | pipeline.Markings, "identity--1 marking-definition--1 marking-definition--2", false},
	} {
		a, _ := Addition(transformOne(t, tr, relation), c.what)
		got, ok := tr.WithoutRefs(a, func(ref string) bool { return slices.Contains(strings.Fields(c.drop), ref) })
		if ok != c.ok || bytes.Contains(got.JSON, []byte(tr.mapping.marking.ID)) {
			t.Errorf("%d without %s: %v, %s", c.what, c.drop, ok, got.JSON)
		}
	}
}
