package transform

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

func TestMarkingsAreThoseOfUpstream(t *testing.T) {
	var want map[string]json.RawMessage
	load(t, "golden/tlp.json", &want)
	if len(want) != len(TLPLevels()) {
		t.Errorf("%d levels in the reference, %d here", len(want), len(TLPLevels()))
	}
	for level, marking := range want {
		got := normal(t, mustNew(t, Config{TLP: level}).mapping.marking.JSON)
		want := normal(t, marking)
		if level == "amber+strict" {
			// Its date is the moment of the run.
			want = normal(t, without(t, marking, func(name, _ string) bool { return name == "created" }))
			got = normal(t, without(t, []byte(got), func(name, _ string) bool { return name == "created" }))
		}
		if got != want {
			t.Errorf("%s:\n got %s\nwant %s", level, got, want)
		}
	}
}

func TestTheAuthorIsThatOfUpstream(t *testing.T) {
	var want json.RawMessage
	load(t, "golden/author.json", &want)
	isDate := func(name, _ string) bool { return name == "created" || name == "modified" }
	got := mustNew(t, upstreamConfig).mapping.author
	if g, w := normal(t, without(t, got.JSON, isDate)), normal(t, without(t, want, isDate)); g != w {
		t.Errorf("\n got %s\nwant %s", g, w)
	}
	if got.ID != "identity--bd7e3637-940a-53ea-b249-d22adfc66fb3" || got.Type != "identity" || got.Modified.IsZero() || len(got.Refs) != 0 {
		t.Errorf("the author's fields are wrong: %+v", got)
	}
}

func TestTextIsThatOfUpstream(t *testing.T) {
	var rows []struct{ In, Out string }
	load(t, "golden/html_text.json", &rows)
	if len(rows) != 94 {
		t.Fatalf("%d rows", len(rows))
	}
	// What only looks like a tag is kept: no ">", a word that is no attribute, a name that is no element.
	differs := map[string]string{
		"if a<b then":        "if a<b then",
		"a<b ":               "a<b ",
		"if (a<b && c>d) {}": "if (a<b && c>d) {}",
		"user@<domain>":      "user@<domain>",
	}
	tr := mustNew(t, upstreamConfig)
	for _, row := range rows {
		want := row.Out
		if kept, ok := differs[row.In]; ok {
			want = kept
			delete(differs, row.In)
		}
		quoted, err := json.Marshal(row.In)
		if err != nil {
			t.Fatal(err)
		}
		var got struct{ Description string }
		_ = json.Unmarshal(transformOne(t, tr, `{"type":"malware","id":"malware--1","description":`+string(quoted)+`}`).JSON, &got)
		if got.Description != want {
			t.Errorf("%q:\n got %q\nwant %q", row.In, got.Description, want)
		}
	}
	if len(differs) > 0 {
		t.Errorf("rows with a difference that the reference does not have: %v", differs)
	}
}

func TestMappingIsThatOfUpstream(t *testing.T) {
	var cases []struct {
		Name   string
		Config struct{ TAIS *bool }
		In     []json.RawMessage
		Out    []json.RawMessage
	}
	load(t, "golden/mapping.json", &cases)
	// Where this connector means to differ: what replaces the answer.
	differs := map[string]func([]string) []string{
		"threat-actor with report and relationship, as intrusion set": func(want []string) []string {
			want[0] = strings.ReplaceAll(want[0], "threat-actor--", "intrusion-set--")
			return want
		},
		"created_by_ref null; object_marking_refs null / empty": func(want []string) []string {
			for i := range want {
				stated := without(t, []byte(want[i]), func(name, _ string) bool { return name == authorKey || name == markingKey })
				want[i] = normal(t, append(bytes.TrimSuffix(stated, []byte("}")), withBoth+"}"...))
			}
			return want
		},
		"marking-definition and identity objects get author and marking too": func(want []string) []string {
			green, _ := StandardMarking("marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da")
			want[0] = normal(t, green.JSON)
			return want
		},
		"object_refs removed unless report, note, opinion, observed-data": func(want []string) []string {
			const malware = `malware--22222222-2222-4222-8222-222222222222`
			want[5] = strings.Replace(want[5], `,"created_by_ref"`, `,"object_refs":["`+malware+`"],"created_by_ref"`, 1)
			for _, source := range []string{"intrusion-set--66666666-6666-4666-8666-666666666666", "malware--66666666-6666-4666-8666-666666666660"} {
				want = append(want, `{"type":"relationship","spec_version":"2.1","id":"`+relationKey{"related-to", source, malware}.id()+
					`","relationship_type":"related-to","source_ref":"`+source+`","target_ref":"`+malware+`"`+withBoth+`}`)
			}
			return want
		},
		"no id key on non threat-actor":         func([]string) []string { return nil },
		"relationship without source_ref, kept": func(want []string) []string { return want[1:] },
	}
	if len(cases) < 16 {
		t.Fatalf("only %d cases", len(cases))
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			config := upstreamConfig
			config.ThreatActorAsIntrusionSet = c.Config.TAIS == nil || *c.Config.TAIS
			tr := mustNew(t, config)
			objects, err := tr.Transform(t.Context(), items(c.In...))
			var want, got []string
			for _, o := range c.Out {
				want = append(want, normal(t, o))
			}
			if change := differs[c.Name]; change != nil {
				want = change(want)
				delete(differs, c.Name)
			}
			for _, o := range objects {
				if o.ID != tr.mapping.author.ID && o.ID != tr.mapping.marking.ID {
					got = append(got, normal(t, o.JSON))
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
			}
			if left := len(c.In) - len(want); (err != nil) != (left > 0) || left > 0 && countErrors(err) != left {
				t.Errorf("%d of %d objects were left out, but the error is: %v", left, len(c.In), err)
			}
		})
	}
	if len(differs) > 0 {
		t.Errorf("cases with a difference that the reference does not have: %v", differs)
	}
}

func countErrors(err error) int {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return 0
	}
	n := 0
	for _, e := range joined.Unwrap() {
		if o := (*ObjectError)(nil); errors.As(e, &o) {
			n++
		}
	}
	return n
}

// TestCleanUpIsThatOfTheSplitter runs the reference's bundles through Transform and then, as at the end of a run, through
// WithoutRefs. Order and cycles are not this package's.
func TestCleanUpIsThatOfTheSplitter(t *testing.T) {
	var cases []struct {
		Name string
		In   []json.RawMessage
		Out  struct {
			Bundles []struct{ Objects []json.RawMessage }
		}
	}
	load(t, "golden/splitter.json", &cases)
	if len(cases) < 29 {
		t.Fatalf("only %d cases", len(cases))
	}
	cycles := []string{"two authors that created each other", "marking and author that refer to each other"}
	// There the copy that states an author has the last word, here the last one.
	const states = "same id twice, the later one without ref"
	// The splitter sees descriptions as they are.
	tr := mustNew(t, Config{TLP: "amber", ThreatActorAsIntrusionSet: true, Descriptions: HTML, Labels: LabelsDropped})
	own := func(name, value string) bool {
		return name == authorKey && strings.Contains(value, tr.mapping.author.ID) || name == markingKey && strings.Contains(value, tr.mapping.marking.ID)
	}
	for _, c := range cases {
		if slices.Contains(cycles, c.Name) || c.Name == states {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			objects, _ := tr.Transform(t.Context(), items(c.In...))
			got := make(map[string]string)
			for id, o := range clean(tr, objects) {
				if id != tr.mapping.author.ID && id != tr.mapping.marking.ID {
					got[id] = normal(t, without(t, o.JSON, own))
				}
			}
			want := make(map[string]string)
			for _, b := range c.Out.Bundles {
				var head struct{ ID string }
				_ = json.Unmarshal(b.Objects[0], &head)
				// OpenCTI refuses a reference without a source.
				want[head.ID] = strings.ReplaceAll(normal(t, without(t, b.Objects[0], nullRefs)), `{"url":"https://only"}`, `{"url":"https://only","source_name":"only"}`)
			}
			for id := range want {
				if got[id] != want[id] {
					t.Errorf("%s:\n got %s\nwant %s", id, got[id], want[id])
				}
			}
			if len(got) != len(want) {
				t.Errorf("%d objects are left, want %d", len(got), len(want))
			}
		})
	}
}

func TestTheRecordedRunGivesWhatUpstreamSent(t *testing.T) {
	tr := mustNew(t, upstreamConfig)
	var all []pipeline.Object
	fromActor := make(map[string]bool)
	n := 0
	for _, line := range lines(t, "golden/small_requests.jsonl.gz") {
		var request struct{ Body json.RawMessage }
		var body struct {
			Objects json.RawMessage
		}
		if err := json.Unmarshal(line, &request); err != nil {
			t.Fatal(err)
		}
		if json.Unmarshal(request.Body, &body) != nil || body.Objects == nil {
			continue
		}
		objects, err := tr.Transform(t.Context(), pipeline.Item{Dataset: "recorded", Data: body.Objects})
		if err != nil {
			t.Error(err)
		}
		all = append(all, objects...)
		var heads []struct{ Type, ID string }
		_ = json.Unmarshal(body.Objects, &heads)
		for _, h := range heads {
			n++
			if h.Type == threatActor {
				fromActor[strings.ReplaceAll(h.ID, threatActor, intrusionSet)] = true
			}
		}
	}
	if n != 2665 || len(fromActor) == 0 {
		t.Fatalf("%d objects in the recorded answers, %d threat actors", n, len(fromActor))
	}
	sent := clean(tr, all)
	messages := lines(t, "golden/small_messages.jsonl.gz")
	for _, line := range messages {
		var message struct {
			Bundle struct{ Objects []json.RawMessage }
		}
		if err := json.Unmarshal(line, &message); err != nil {
			t.Fatal(err)
		}
		var head struct{ ID, Type string }
		_ = json.Unmarshal(message.Bundle.Objects[0], &head)
		o, ok := sent[head.ID]
		if !ok {
			t.Errorf("%s is missing", head.ID)
			continue
		}
		drop := nullRef
		if head.ID == tr.mapping.author.ID {
			drop = func(name, _ string) bool { return name == "created" || name == "modified" }
		}
		got := o
		if head.Type == "report" {
			// Upstream loses these.
			got, _ = tr.WithoutRefs(o, func(ref string) bool { return fromActor[ref] })
		}
		delete(sent, head.ID)
		upstreams := message.Bundle.Objects[0]
		if strings.Contains(normal(t, upstreams), `"object_marking_refs":[]`) {
			// Upstream cuts references to standard markings that no item brings, and sends what had no other unmarked.
			other := drop
			drop = func(name, value string) bool { return name == markingKey || other(name, value) }
			if !slices.Contains(got.Refs, "marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da") {
				t.Errorf("%s has lost its marking: %s", head.ID, got.JSON)
			}
		}
		if g, w := normal(t, without(t, got.JSON, drop)), normal(t, without(t, upstreams, drop)); g != w {
			t.Errorf("%s:\n got %s\nwant %s", head.ID, g, w)
		}
	}
	// Upstream throws object_refs of what is no container away.
	for id, o := range sent {
		if r := new(scratch).relationOf(o); r.typ != "related-to" || r.id() != id {
			t.Errorf("upstream did not send %s", o.JSON)
		}
	}
}

func TestTheCorpusGivesOneContentForEachVersion(t *testing.T) {
	tr := mustNew(t, Config{TLP: "amber", ThreatActorAsIntrusionSet: true})
	type version struct {
		id       string
		modified int64
	}
	digests := make(map[version]uint64)
	texts := make(map[version]string)
	ids := make(map[string]bool)
	variants := make(map[string]bool)
	for _, name := range []string{"profiles", "alerts", "indicators"} {
		for _, line := range lines(t, "data/corpus/"+name+".ndjson.gz") {
			data := json.RawMessage(line)
			if name != "indicators" {
				var entry struct{ Objects json.RawMessage }
				_ = json.Unmarshal(line, &entry)
				data = entry.Objects
			}
			objects, err := tr.Transform(t.Context(), pipeline.Item{Dataset: name, Data: data})
			if err != nil {
				t.Error(err)
			}
			for _, o := range objects {
				ids[o.ID] = true
				v := version{o.ID, o.Modified.UnixNano()}
				if known, seen := digests[v]; seen && known != o.Digest {
					t.Errorf("%s has two digests under one modified:\n%s\n%s", o.ID, texts[v], o.JSON)
				}
				if text, seen := texts[v]; seen && text != string(o.JSON) {
					variants[o.ID] = true
				}
				digests[v], texts[v] = o.Digest, string(o.JSON)
			}
		}
	}
	if len(ids) != 12153+2 {
		t.Errorf("%d different objects, want 12,153 and author and marking", len(ids))
	}
	if len(variants) == 0 {
		t.Error("the corpus has no variants: the test proves nothing")
	}
	different := make(map[uint64]bool)
	for _, d := range digests {
		different[d] = true
	}
	if len(different) != len(digests) {
		t.Errorf("%d versions share %d digests", len(digests), len(different))
	}
	t.Logf("%d ids, %d of them in variants", len(ids), len(variants))
}
