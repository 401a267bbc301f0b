package transform

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

const (
	withAuthor  = `,"created_by_ref":"identity--bd7e3637-940a-53ea-b249-d22adfc66fb3"`
	withMarking = `,"object_marking_refs":["marking-definition--f88d31f6-486f-44da-b317-01333bde0b82"]`
	withBoth    = withAuthor + withMarking
)

func TestOneObject(t *testing.T) {
	config := Config{TLP: "amber", ThreatActorAsIntrusionSet: true}
	for _, c := range []struct{ name, in, want string }{
		{"numbers, unknown properties, spelling and order survive",
			` { "x" : 123456789012345678901234567890 , "type":"malware", "y":[1E400,-0.0,1.50], "id":"malware--1", "z":"\u00e9\/<&>", "n":null, "o":{"b":1,"a":{}} } `,
			`{"x":123456789012345678901234567890,"type":"malware","y":[1E400,-0.0,1.50],"id":"malware--1","z":"\u00e9\/<&>","o":{"b":1,"a":{}}` + withBoth + `}`},
		{"escaped names are the names that they mean",
			`{"\u0074ype":"malware","i\u0064":"malware--1","label\u0073":["x"]}`,
			`{"\u0074ype":"malware","i\u0064":"malware--1","label\u0073":["x"]` + withBoth + `}`},
		{"references that cannot lead anywhere go",
			`{"type":"malware","id":"malware--1","a_ref":5,"b_ref":"x-custom--1","c_ref":"malware--1","d_ref":null,"e_ref":"","f_ref":"tool--1","g_refs":["tool--1",7,"tool--1",null,"x-custom--2","malware--1"],"h_refs":"tool--3","i_refs":null,"j_refs":[]}`,
			`{"type":"malware","id":"malware--1","f_ref":"tool--1","g_refs":["tool--1"],"j_refs":[]` + withBoth + `}`},
		{"threat actors are followed everywhere",
			`{"type":"report","id":"report--1","object_refs":["threat-actor--1"],"actor_ref":"threat-actor--2","ext":{"deep":[{"x_ref":"threat-actor--3","y_refs":["threat-actor--4"],"text":"threat-actor--5"}]},"name":"threat-actor--6"}`,
			`{"type":"report","id":"report--1","object_refs":["intrusion-set--1"],"actor_ref":"intrusion-set--2","ext":{"deep":[{"x_ref":"intrusion-set--3","y_refs":["intrusion-set--4"],"text":"threat-actor--5"}]},"name":"threat-actor--6"` + withBoth + `}`},
		{"what is there is not added",
			`{"type":"malware","id":"malware--1"` + `,"object_marking_refs":["marking-definition--9"],"created_by_ref":"identity--9"}`,
			`{"type":"malware","id":"malware--1"` + `,"object_marking_refs":["marking-definition--9"],"created_by_ref":"identity--9"}`},
		{"repeated external references and phases go",
			`{"type":"malware","id":"malware--1","external_references":[{"source_name":"a","url":"u"},{"url":"\u0075"},{"source_name":"a","external_id":"1"},{"external_id":"1","source_name":"a"},{"source_name":"a"},7],"kill_chain_phases":[{"kill_chain_name":"k","phase_name":"p"},{"phase_name":"p","kill_chain_name":"k"},{"phase_name":"p"}]}`,
			`{"type":"malware","id":"malware--1","external_references":[{"source_name":"a","url":"u"},{"source_name":"a","external_id":"1"}],"kill_chain_phases":[{"kill_chain_name":"k","phase_name":"p"}]` + withBoth + `}`},
		{"associated_content is a relationship's word only",
			`{"type":"malware","id":"malware--1","relationship_type":"associated_content"}`,
			`{"type":"malware","id":"malware--1","relationship_type":"associated_content"` + withBoth + `}`},
		{"a description that shows the same as Markdown stays as it is spelled",
			`{"type":"malware","id":"malware--1","description":"\u0041 a_b*c\nx 1. #tag"}`,
			`{"type":"malware","id":"malware--1","description":"\u0041 a_b*c\nx 1. #tag"` + withBoth + `}`},
		{"markup behind escapes is seen",
			`{"type":"malware","id":"malware--1","description":"\u003cp>x \"y\" \u0026amp; z\u003c/p>"}`,
			`{"type":"malware","id":"malware--1","description":"x \"y\" & z"` + withBoth + `}`},
		{"no description is no mistake",
			`{"type":"malware","id":"malware--1","description":null}`,
			`{"type":"malware","id":"malware--1"` + withBoth + `}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := string(transformOne(t, mustNew(t, config), c.in).JSON); got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestFieldsOfAnObjectSayWhatItsTextSays(t *testing.T) {
	o := transformOne(t, mustNew(t, upstreamConfig), `{"type":"threat-actor","id":"threat-actor--1","x_opencti_id":"abc","modified":"2025-04-17T15:24:00.123456Z","a_ref":"tool--1","b_refs":["tool--2","tool--1"],"c_ref":"abc"}`)
	if o.ID != "intrusion-set--1" || o.Type != "intrusion-set" || o.AltID != "abc" {
		t.Errorf("identity: %+v", o)
	}
	if want := time.Date(2025, 4, 17, 15, 24, 0, 123456000, time.UTC); !o.Modified.Equal(want) {
		t.Errorf("modified %v, want %v", o.Modified, want)
	}
	want := []string{"tool--1", "tool--2", "identity--bd7e3637-940a-53ea-b249-d22adfc66fb3", "marking-definition--f88d31f6-486f-44da-b317-01333bde0b82"}
	if !slices.Equal(o.Refs, want) {
		t.Errorf("refs %v, want %v", o.Refs, want)
	}
}

func TestABadObjectCostsItself(t *testing.T) {
	tr := mustNew(t, upstreamConfig)
	for _, c := range []struct {
		name, in, id string
		why          pipeline.Reason
		text         string
	}{
		{"error", `{"type":"malware","id":"malware--2","error":null}`, "malware--2", CarriesAnError, "error"},
		{"no type", `{"id":"malware--2"}`, "malware--2", NoType, "no type"},
		{"type no text", `{"id":"malware--2","type":1}`, "malware--2", NoType, "no type"},
		{"no id", `{"type":"malware"}`, "", NoID, "number 2 in the item has no id"},
		{"empty id", `{"type":"malware","id":""}`, "", NoID, "no id"},
		{"id no text", `{"type":"malware","id":7}`, "", NoID, "id that is not text"},
		{"unknown type", `{"type":"x-custom","id":"x-custom--2"}`, "x-custom--2", UnknownType, "type"},
		{"unknown type in the id", `{"type":"malware","id":"x-custom--2"}`, "x-custom--2", UnknownType, "type"},
		{"no object", `"text"`, "", NotAnObject, "not an object"},
		{"no end", `{"type":"relationship","id":"relationship--2","source_ref":"tool--1"}`, "relationship--2", NoEnd, "target_ref"},
		{"end of unknown type", `{"type":"relationship","id":"relationship--2","source_ref":"x-y--1","target_ref":"tool--1"}`, "relationship--2", NoEnd, "source_ref"},
		{"relation to itself", `{"type":"relationship","id":"relationship--2","source_ref":"relationship--2","target_ref":"tool--1"}`, "relationship--2", NoEnd, "source_ref"},
		{"sighting of nothing", `{"type":"sighting","id":"sighting--2","where_sighted_refs":["identity--1"]}`, "sighting--2", NoEnd, "sighting_of_ref"},
		{"sighting nowhere", `{"type":"sighting","id":"sighting--2","sighting_of_ref":"tool--1","where_sighted_refs":[]}`, "sighting--2", NoEnd, "where_sighted_refs"},
	} {
		t.Run(c.name, func(t *testing.T) {
			objects, err := tr.Transform(t.Context(), item(`[{"type":"malware","id":"malware--1"},`+c.in+`,{"type":"malware","id":"malware--3"}]`))
			if len(objects) != 4 || objects[2].ID != "malware--1" || objects[3].ID != "malware--3" {
				t.Errorf("objects %v", objects)
			}
			var named *ObjectError
			if !errors.As(err, &named) || named.Dataset != "profiles" || named.Item != "1" || named.ObjectID != c.id || named.Why != c.why || !strings.Contains(named.Text, c.text) {
				t.Errorf("error %v (%+v)", err, named)
			}
		})
	}
}

func TestABadItemGivesNoObjects(t *testing.T) {
	tr := mustNew(t, upstreamConfig)
	for _, text := range []string{"", "null", "3", `"x"`, `{"type":"malware"`, `[{"type":"malware","id":"malware--1"},]`, `{} {}`, "\xff"} {
		if objects, err := tr.Transform(t.Context(), item(text)); err == nil || len(objects) > 0 {
			t.Errorf("%q: %v, %v", text, objects, err)
		}
	}
	if objects, err := tr.Transform(t.Context(), item(" [ ] ")); err != nil || len(objects) > 0 {
		t.Errorf("an empty item: %v, %v", objects, err)
	}
}

func TestAMillionBadObjectsAreCountedAndTheFirstOfEachReasonNamed(t *testing.T) {
	const many = 100_000
	few := `{"type":"malware"},{"type":"x-y","id":"x-y--1"},`
	_, err := mustNew(t, upstreamConfig).Transform(t.Context(), item("["+few+strings.Repeat("3,", many)+few+`{"type":"x-y","id":"x-y--2"}]`))
	if n := countErrors(err); n != pipeline.MaxNamed+1+2+3 || !strings.Contains(err.Error(), "99980 more objects of profiles 1: not an object") {
		t.Errorf("%d errors", n)
	}
	counted := map[pipeline.Reason]int{}
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		why, n := e.(pipeline.LeftOut).LeftOut()
		counted[why] += n
	}
	if want := (map[pipeline.Reason]int{NotAnObject: many, NoID: 2, UnknownType: 3}); !maps.Equal(counted, want) {
		t.Errorf("counted %v, want %v", counted, want)
	}
}

func TestWhatIsNotQuiteJSONIsRepaired(t *testing.T) {
	tr := mustNew(t, upstreamConfig)
	objects, err := tr.Transform(t.Context(), item(`[{"type":"malware","id":"malware--0","\ud800":1,"id":"malware--1","name":"a`+"\xff"+`b\udc00","x":{"k":1,"l":2,"k":3}},{"type":"tool","id":"tool--1"}]`))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"type":"malware","id":"malware--1","` + "\ufffd" + `":1,"name":"a` + "\ufffdb\ufffd" + `","x":{"k":3,"l":2}` + withBoth + `}`
	if got := string(objects[2].JSON); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	if !jsontext.Value(objects[2].JSON).IsValid() {
		t.Error("the repaired object is not valid")
	}
	if tr.Repaired() != 1 {
		t.Errorf("%d repaired", tr.Repaired())
	}
}

func TestANameGivenTwiceCountsByItsLastValue(t *testing.T) {
	tr := mustNew(t, upstreamConfig)
	o := transformOne(t, tr, `{"type":"malware","id":"malware--1","name":"a","na\u006de":"b"}`)
	if want := `{"type":"malware","id":"malware--1","name":"b"` + withBoth + `}`; string(o.JSON) != want || tr.Repaired() != 1 {
		t.Errorf("%d repaired\n got %s\nwant %s", tr.Repaired(), o.JSON, want)
	}
}

func TestAllCopiesOfOneIDComeThatDiffer(t *testing.T) {
	tr := mustNew(t, upstreamConfig)
	for _, c := range []struct{ name, first, second, want string }{
		{"two versions", `"modified":"2025-01-02T00:00:00Z","name":"a"`, `"modified":"2025-01-01T00:00:00Z","name":"b"`, "ab"},
		{"two texts of one version", `"modified":"2025-01-01T00:00:00Z","name":"a"`, `"modified":"2025-01-01T00:00:00.0Z","name":"b"`, "ab"},
		{"no version", `"name":"a"`, `"name":"b"`, "ab"},
		{"the same twice", `"name":"a"`, `"name":"a"`, "a"},
		{"the same text, of which one copy states the default", `"name":"a"` + withBoth, `"name":"a"`, "aa"},
	} {
		objects, err := tr.Transform(t.Context(), item(`[{"type":"intrusion-set","id":"intrusion-set--1",`+c.first+`},{"type":"threat-actor","id":"threat-actor--1",`+c.second+`}]`))
		got := ""
		for _, o := range objects[2:] {
			var named struct{ Name string }
			_ = json.Unmarshal(o.JSON, &named)
			got += named.Name
		}
		if err != nil || got != c.want {
			t.Errorf("%s: %s, want %s (%v)", c.name, got, c.want, err)
		}
	}
}

func TestAuthorAndMarkingComeOnlyWhenWanted(t *testing.T) {
	tr := mustNew(t, upstreamConfig)
	for _, c := range []struct {
		in   string
		want []string
	}{
		{`{"type":"tool","id":"tool--1"}`, []string{tr.mapping.author.ID, tr.mapping.marking.ID, "tool--1"}},
		{`{"type":"tool","id":"tool--1","created_by_ref":"identity--1"}`, []string{tr.mapping.marking.ID, "tool--1"}},
		{`{"type":"tool","id":"tool--1","object_marking_refs":["marking-definition--1"]}`, []string{tr.mapping.author.ID, "tool--1"}},
		{`{"type":"tool","id":"tool--1","object_marking_refs":["marking-definition--1"],"created_by_ref":"identity--1"}`, []string{"tool--1"}},
		{`{"type":"marking-definition","id":"` + tr.mapping.marking.ID + `","name":"another text"}`, []string{tr.mapping.marking.ID}},
	} {
		objects, err := tr.Transform(t.Context(), item(c.in))
		var got []string
		for _, o := range objects {
			got = append(got, o.ID)
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v", c.in, got, err)
		}
		if objects[0].ID == tr.mapping.marking.ID && !bytes.Equal(objects[0].JSON, tr.mapping.marking.JSON) {
			t.Errorf("the marking is not the constant one: %s", objects[0].JSON)
		}
	}
}

func TestSettingsThatItCannotWorkWithAreRefused(t *testing.T) {
	for _, c := range []Config{{}, {TLP: "AMBER"}, {TLP: "amber", Descriptions: 3}, {TLP: "amber", Descriptions: -1}} {
		if tr, err := New(c); err == nil || tr != nil {
			t.Errorf("%+v was taken", c)
		}
	}
	for _, f := range []Format{Markdown, Text, HTML} {
		if got, err := ParseFormat(f.String()); got != f || err != nil {
			t.Errorf("%v: %v, %v", f, got, err)
		}
	}
	if _, err := ParseFormat("rtf"); err == nil {
		t.Error("rtf was taken")
	}
}

func TestOneTransformerServesManyGoroutines(t *testing.T) {
	tr := mustNew(t, upstreamConfig)
	text := `[{"type":"threat-actor","id":"threat-actor--1","description":"<p>x</p>"},{"type":"report","id":"report--1","object_refs":["threat-actor--1"]}]`
	want, _ := tr.Transform(t.Context(), item(text))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				got, err := tr.Transform(t.Context(), item(text))
				if err != nil || len(got) != len(want) {
					t.Errorf("%v, %v", got, err)
					return
				}
				for i := range got {
					if !bytes.Equal(got[i].JSON, want[i].JSON) || got[i].Digest != want[i].Digest {
						t.Errorf("%s", got[i].JSON)
					}
					_, _ = append(got[i].JSON, '}'), append(got[i].Refs, "") // what is behind them is nobody's
				}
			}
		})
	}
	all.Wait()
}
