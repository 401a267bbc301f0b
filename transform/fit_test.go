package transform

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/transform/relations"
)

func anyKind(string) uint8 { return 0 }

// relation makes a relation of the text of its members.
func relation(members string) pipeline.Object {
	return pipeline.Object{ID: "relationship--1", Type: "relationship", Digest: 7, JSON: []byte("{" + members + "}")}
}

func TestOnlyTheTypeAndTheDescriptionOfARefusedRelationChange(t *testing.T) {
	const (
		ends  = `"source_ref":"intrusion-set--1","target_ref":"identity--1"`
		start = `"type":"relationship","n":9007199254740993,"e":1E400,"q\u0041":"\u0041",`
	)
	for name, tt := range map[string]struct {
		format   Format
		in, want string
	}{
		"taken":            {Markdown, `"relationship_type":"targets",` + ends, `"relationship_type":"targets",` + ends},
		"no description":   {Markdown, `"relationship_type":"attributed-to",` + ends, `"relationship_type":"related-to",` + ends + `,"description":"Attributed to."`},
		"empty one":        {Markdown, `"description":"","relationship_type":"owns",` + ends, `"description":"Owns.","relationship_type":"related-to",` + ends},
		"blank one":        {Text, `"description":" \n","relationship_type":"owns",` + ends, `"description":"Owns.","relationship_type":"related-to",` + ends},
		"null":             {Markdown, `"description":null,"relationship_type":"owns",` + ends, `"description":"Owns.","relationship_type":"related-to",` + ends},
		"markdown":         {Markdown, `"description":"By *x*.","relationship_type":"attributed-to",` + ends, `"description":"Attributed to. By *x*.","relationship_type":"related-to",` + ends},
		"a list":           {Markdown, `"description":"- a\n- b","relationship_type":"owns",` + ends, `"description":"Owns.\n\n- a\n- b","relationship_type":"related-to",` + ends},
		"a heading":        {Markdown, `"description":"## a","relationship_type":"owns",` + ends, `"description":"Owns.\n\n## a","relationship_type":"related-to",` + ends},
		"text":             {Text, `"description":"- a \u0026 b","relationship_type":"owns",` + ends, `"description":"Owns. - a & b","relationship_type":"related-to",` + ends},
		"html":             {HTML, `"description":"<p>x</p>","relationship_type":"attributed-to",` + ends, `"description":"<p>Attributed to.</p><p>x</p>","relationship_type":"related-to",` + ends},
		"html without one": {HTML, `"relationship_type":"owns",` + ends, `"relationship_type":"related-to",` + ends + `,"description":"<p>Owns.</p>"`},
		"odd in markdown":  {Markdown, `"relationship_type":"a*b* <i>&amp;",` + ends, `"relationship_type":"related-to",` + ends + `,"description":"A\\*b\\* \\<i>\\&amp;."`},
		"odd in text":      {Text, `"relationship_type":"a*b* <i>&amp;",` + ends, `"relationship_type":"related-to",` + ends + `,"description":"A*b* <i>&amp;."`},
		"odd in html":      {HTML, `"relationship_type":"a*b* <i>&amp;",` + ends, `"relationship_type":"related-to",` + ends + `,"description":"<p>A*b* &lt;i&gt;&amp;amp;.</p>"`},
		"not ascii":        {Markdown, `"relationship_type":"übt-aus",` + ends, `"relationship_type":"related-to",` + ends + `,"description":"Übt aus."`},
		"no word":          {Markdown, `"description":"x","relationship_type":"-",` + ends, `"description":"x","relationship_type":"related-to",` + ends},
		"empty type":       {Markdown, `"description":"x","relationship_type":"",` + ends, `"description":"x","relationship_type":"related-to",` + ends},
		"same meaning":     {Markdown, `"description":"x","relationship_type":"located-at","source_ref":"intrusion-set--1","target_ref":"location--1"`, `"description":"x","relationship_type":"originates-from","source_ref":"intrusion-set--1","target_ref":"location--1"`},
		"spelling":         {Markdown, `"relationship_type":"related_to",` + ends, `"relationship_type":"related-to",` + ends},
		"no type":          {Markdown, ends, ends},
		"no source":        {Markdown, `"relationship_type":"owns","target_ref":"identity--1"`, `"relationship_type":"owns","target_ref":"identity--1"`},
	} {
		t.Run(name, func(t *testing.T) {
			f := Fitter{Table: relations.BuiltIn(), Descriptions: tt.format}
			before := relation(start + tt.in)
			text := bytes.Clone(before.JSON)
			got, from, to := f.Fit(before, anyKind)
			if want := "{" + start + tt.want + "}"; string(got.JSON) != want {
				t.Errorf("\n got %s\nwant %s", got.JSON, want)
			}
			if changed := tt.in != tt.want; changed != (to != "") {
				t.Errorf("it says that %q became %q", from, to)
			}
			if got.ID != before.ID || got.Digest != before.Digest || !bytes.Equal(before.JSON, text) {
				t.Error("id, digest or the text that was handed in have changed")
			}
			if again, _, to := f.Fit(got, anyKind); to != "" || !bytes.Equal(again.JSON, got.JSON) {
				t.Errorf("fitted again it becomes %s", again.JSON)
			}
		})
	}
}

func TestOnlyRelationsAreFitted(t *testing.T) {
	o := relation(`"relationship_type":"owns","source_ref":"intrusion-set--1","target_ref":"identity--1"`)
	if got, _, to := (Fitter{}).Fit(o, anyKind); to != "" || !bytes.Equal(got.JSON, o.JSON) {
		t.Errorf("without a table it becomes %s", got.JSON)
	}
	o.Type = "sighting"
	if got, _, to := (Fitter{Table: relations.BuiltIn()}).Fit(o, anyKind); to != "" || !bytes.Equal(got.JSON, o.JSON) {
		t.Errorf("a sighting becomes %s", got.JSON)
	}
}

func TestTheKindOfAnEndDecides(t *testing.T) {
	f := Fitter{Table: relations.BuiltIn()}
	o := relation(`"relationship_type":"part-of","source_ref":"identity--1","target_ref":"identity--2"`)
	kinds := map[string]uint8{"identity--1": relations.Individual, "identity--2": relations.Sector}
	if _, from, to := f.Fit(o, func(ref string) uint8 { return kinds[ref] }); from != "part-of" || to != relations.RelatedTo {
		t.Errorf("an individual in a sector: %q became %q", from, to)
	}
	kinds["identity--1"] = relations.Organization
	if _, _, to := f.Fit(o, func(ref string) uint8 { return kinds[ref] }); to != "" {
		t.Error("an organization in a sector is changed")
	}
}

func TestObjectsTellTheirKind(t *testing.T) {
	for _, tt := range []struct {
		object      string
		kind, asSet uint8
	}{
		{`"type":"identity","id":"identity--1","identity_class":"class"`, relations.Sector, relations.Sector},
		{`"type":"identity","id":"identity--1","identity_class":"\u0063lass"`, relations.Sector, relations.Sector},
		{`"type":"location","id":"location--1","country":"DE"`, relations.Country, relations.Country},
		{`"type":"threat-actor","id":"threat-actor--1","resource_level":"individual"`, relations.ThreatActorIndividual, 0},
		{`"type":"malware","id":"malware--1","identity_class":"class"`, 0, 0},
	} {
		for asSet, want := range map[bool]uint8{false: tt.kind, true: tt.asSet} {
			tr := mustNew(t, Config{TLP: "red", ThreatActorAsIntrusionSet: asSet})
			if got := transformOne(t, tr, "{"+tt.object+"}").Kind; got != want {
				t.Errorf("%s, threat actors as intrusion sets %t: %d, want %d", tt.object, asSet, got, want)
			}
			if got := tr.mapping.author.Kind; got != relations.Organization {
				t.Errorf("the author's kind is %d", got)
			}
		}
	}
}

// fitAll maps items, fits what comes of them, and checks each relation; it returns how many changed, by what became of them.
func fitAll(t *testing.T, c Config, texts []json.RawMessage) (refused map[string]int, all map[string]pipeline.Object) {
	t.Helper()
	tr, f := mustNew(t, c), Fitter{Table: relations.BuiltIn(), Descriptions: c.Descriptions}
	objects := make(map[string]pipeline.Object)
	for _, text := range texts {
		mapped, _ := tr.Transform(t.Context(), pipeline.Item{Data: text})
		for _, o := range mapped {
			objects[o.ID] = o
		}
	}
	kind := func(ref string) uint8 { return objects[ref].Kind }
	refused, all = make(map[string]int), make(map[string]pipeline.Object)
	for id, o := range objects {
		fitted, from, to := f.Fit(o, kind)
		all[id] = fitted
		if o.Type != "relationship" {
			continue
		}
		checkFitted(t, f.Table, o, fitted, kind)
		if to != "" {
			source, target := ends(t, o)
			refused[source[:strings.Index(source, "--")]+" "+from+" "+target[:strings.Index(target, "--")]+": "+to]++
		}
	}
	return refused, all
}

func ends(t *testing.T, o pipeline.Object) (source, target string) {
	t.Helper()
	var r struct{ Source_Ref, Target_Ref string }
	if err := json.Unmarshal(o.JSON, &r); err != nil {
		t.Fatalf("%v in %s", err, o.JSON)
	}
	return r.Source_Ref, r.Target_Ref
}

// checkFitted wants a type that OpenCTI takes, and nothing else changed.
func checkFitted(t *testing.T, table *relations.Table, before, after pipeline.Object, kind func(string) uint8) {
	t.Helper()
	checkObject(t, after)
	source, target := ends(t, before)
	var r struct{ Relationship_Type string }
	_ = json.Unmarshal(after.JSON, &r)
	if !table.Takes(r.Relationship_Type, relations.End{ID: source, Kind: kind(source)}, relations.End{ID: target, Kind: kind(target)}) {
		t.Errorf("OpenCTI does not take %s", after.JSON)
	}
	touched := func(name, _ string) bool { return name == "relationship_type" || name == "description" }
	if b, a := without(t, before.JSON, touched), without(t, after.JSON, touched); !bytes.Equal(a, b) {
		t.Errorf("more than the type changed:\n%s\n%s", before.JSON, after.JSON)
	}
	if after.ID != before.ID || after.Digest != before.Digest || !slices.Equal(after.Refs, before.Refs) {
		t.Errorf("the fields of %s changed", before.JSON)
	}
}

func TestRealRelationsAreOfTypesThatOpenCTITakes(t *testing.T) {
	var texts []json.RawMessage
	for _, name := range []string{"profiles", "alerts"} {
		for _, line := range lines(t, "data/corpus/"+name+".ndjson.gz") {
			var item struct{ Objects json.RawMessage }
			if err := json.Unmarshal(line, &item); err != nil {
				t.Fatal(err)
			}
			texts = append(texts, item.Objects)
		}
	}
	for _, asSet := range []bool{false, true} {
		refused, _ := fitAll(t, Config{TLP: "amber", ThreatActorAsIntrusionSet: asSet}, texts)
		if len(refused) > 0 {
			t.Errorf("threat actors as intrusion sets %t: a real OpenCTI took all of these: %v", asSet, refused)
		}
	}
}

func TestRelationsOfAMappedActorAreSent(t *testing.T) {
	var file struct {
		Items  map[string]map[string]json.RawMessage
		Expect struct {
			Arrives []struct{ Where, Has map[string]string }
		}
	}
	load(t, "cases/relations-of-a-mapped-actor.json", &file)
	var texts []json.RawMessage
	for _, items := range file.Items {
		for _, text := range items {
			texts = append(texts, text)
		}
	}
	_, all := fitAll(t, upstreamConfig, texts)
	for _, want := range file.Expect.Arrives {
		var got map[string]any
		_ = json.Unmarshal(all[want.Where["id"]].JSON, &got)
		for name, value := range want.Has {
			if got[name] != value {
				t.Errorf("%s of %s is %v, want %s", name, want.Where["id"], got[name], value)
			}
		}
	}
}

// FuzzFit holds for any relation that the mapping lets through.
func FuzzFit(f *testing.F) {
	f.Add("attributed-to", "By <b>x</b>", "intrusion-set--1", "identity--1")
	f.Add("located-at", "", "threat-actor--1", "location--1")
	f.Add("a\"\\b\n", "- x\n", "x", "relationship--2")
	table := relations.BuiltIn()
	transformers := make(map[Format]*Transformer)
	for _, format := range []Format{Markdown, Text, HTML} {
		transformers[format] = mustNew(f, Config{TLP: "red", ThreatActorAsIntrusionSet: true, Descriptions: format})
	}
	f.Fuzz(func(t *testing.T, relation, text, source, target string) {
		item := `{"type":"relationship","id":"relationship--1"`
		for _, m := range [][2]string{{"relationship_type", relation}, {"description", text}, {"source_ref", source}, {"target_ref", target}} {
			item += `,"` + m[0] + `":` + string(appendQuoted(nil, m[1]))
		}
		for format, transformer := range transformers {
			objects, _ := transformer.Transform(t.Context(), pipeline.Item{Data: []byte(item + "}")})
			fitter := Fitter{Table: table, Descriptions: format}
			for _, o := range objects {
				if o.Type != "relationship" {
					continue
				}
				fitted, _, _ := fitter.Fit(o, anyKind)
				checkFitted(t, table, o, fitted, anyKind)
				if again, _, to := fitter.Fit(fitted, anyKind); to != "" || !bytes.Equal(again.JSON, fitted.JSON) {
					t.Errorf("fitted again %s becomes %s", fitted.JSON, again.JSON)
				}
			}
		}
	})
}

func BenchmarkFit(b *testing.B) {
	o := relation(`"type":"relationship","spec_version":"2.1","id":"relationship--1","created":"2025-01-01T00:00:00.000Z",` +
		`"modified":"2025-01-01T00:00:00.000Z","relationship_type":"uses","description":"` + strings.Repeat("word ", 40) + `",` +
		`"source_ref":"intrusion-set--1","target_ref":"attack-pattern--1","created_by_ref":"identity--1","object_marking_refs":["marking-definition--1"]`)
	f := Fitter{Table: relations.BuiltIn()}
	for b.Loop() {
		f.Fit(o, anyKind)
	}
}
