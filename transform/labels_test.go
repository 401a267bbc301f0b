package transform

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// knowing is how the program maps unless it is told otherwise.
var knowing = Config{TLP: "amber", ThreatActorAsIntrusionSet: true}

func TestTechniquesAreTakenOnlyWhereTheyAreUnmistakable(t *testing.T) {
	for label, want := range map[string]technique{
		"T1078 - Valid Accounts":          {"T1078", "Valid Accounts"},
		"T1566.004 - Spearphishing Voice": {"T1566.004", "Spearphishing Voice"},
		"T1078-Valid Accounts":            {"T1078", "Valid Accounts"},
		"T1078 \u2013 Valid Accounts":     {"T1078", "Valid Accounts"},
		"T1078\u2014Valid Accounts":       {"T1078", "Valid Accounts"},
		"T1059.001: PowerShell":           {"T1059.001", "PowerShell"},
		"T1078\t-\n Valid Accounts":       {"T1078", "Valid Accounts"},
		"T1078 -- Valid Accounts":         {"T1078", "Valid Accounts"},
		"t1078 - valid accounts":          {"T1078", "valid accounts"},
		"T0801 - Monitor Process State":   {"T0801", "Monitor Process State"},
		"T1542.003 - Bootkit (x-y): z":    {"T1542.003", "Bootkit (x-y): z"},
		"T1078 - \u53e3\u5ea7":            {"T1078", "\u53e3\u5ea7"},

		"":                              {},
		"T":                             {},
		"T1078":                         {},
		"T1078.001":                     {},
		"T1078 -":                       {},
		"T1078 - ":                      {},
		"T1078 Valid Accounts":          {},
		"T1078, Valid Accounts":         {},
		"T1078.1 - Valid Accounts":      {},
		"T1078.0011 - Valid Accounts":   {},
		"T10781 - Valid Accounts":       {},
		"T107 - Valid Accounts":         {},
		"T1078.00x - Valid Accounts":    {},
		"T1000 - 2000":                  {},
		"TA0001 - Initial Access":       {},
		"S0154 - Cobalt Strike":         {},
		"Valid Accounts - T1078":        {},
		"AT1078 - Valid Accounts":       {},
		"T\uff11\uff10\uff17\uff18 - x": {},
	} {
		got, ok := readTechnique([]byte(label))
		if got != want || ok != (want.id != "") {
			t.Errorf("%q: %q, %v", label, got, ok)
		}
	}
}

func TestLabelsThatStayAreTrimmedAndEachThereOnce(t *testing.T) {
	for _, c := range []struct {
		labels       Labels
		typ          string
		in, want     string // members of the object; want "" for none
		alsoPatterns int
	}{
		{0, "malware", `"labels":["b","a","b"]`, `"labels":["b","a"]`, 0},
		{0, "malware", `"labels":[" a\n","a","\u0061","\u00a0a",""," ","\t"]`, `"labels":["a"]`, 0},
		{0, "malware", `"labels":["\u0061b"," \u0061c"]`, `"labels":["\u0061b","ac"]`, 0},
		{0, "malware", `"labels":["Energy, water & waste","a\nb"]`, `"labels":["Energy, water & waste","a\nb"]`, 0},
		{0, "malware", `"labels":[null,1,"a",["b"],{"c":"d"},true]`, `"labels":["a"]`, 0},
		{0, "malware", `"labels":[]`, ``, 0},
		{0, "malware", `"labels":[" "]`, ``, 0},
		{0, "malware", `"labels":null`, ``, 0},
		{0, "malware", `"labels":"a"`, ``, 0},
		{0, "malware", `"labels":{"a":"b"}`, ``, 0},
		{0, "malware", `"labels":["T1078 - Valid Accounts"]`, ``, 1},
		{0, "malware", `"labels":["T1078 - Valid Accounts","a"," T1078 - Valid Accounts\n"]`, `"labels":["a"]`, 1},
		{0, "threat-actor", `"labels":["Gain"," x "],"goals":["Gain ","x"]`, `"goals":["Gain ","x"]`, 0},
		{0, "threat-actor", `"goals":["Gain",1,null],"labels":["Gain","gain","a"]`, `"goals":["Gain",1,null],"labels":["gain","a"]`, 0},
		{0, "threat-actor", `"goals":"Gain","labels":["Gain"]`, `"goals":"Gain","labels":["Gain"]`, 0},
		{0, "threat-actor", `"goals":["T1078 - Valid Accounts"],"labels":["T1078 - Valid Accounts"]`, `"goals":["T1078 - Valid Accounts"]`, 1},
		{0, "report", `"labels":["T1078 - Valid Accounts","a","a"]`, `"labels":["T1078 - Valid Accounts","a"]`, 0},
		{0, "vulnerability", `"labels":["T1078 - Valid Accounts"]`, `"labels":["T1078 - Valid Accounts"]`, 0},
		{0, "attack-pattern", `"labels":["T1078 - Valid Accounts"]`, `"labels":["T1078 - Valid Accounts"]`, 0},
		{LabelsKept, "malware", `"goals":["g"],"labels":["g"," T1078 - Valid Accounts ","a","a"]`, `"goals":["g"],"labels":["g","T1078 - Valid Accounts","a"]`, 0},
		{LabelsDropped, "malware", `"goals":["g"],"labels":["g","T1078 - Valid Accounts","a"]`, `"goals":["g"]`, 0},
	} {
		tr := mustNew(t, Config{TLP: "amber", Labels: c.labels})
		head := `{"type":"` + c.typ + `","id":"` + c.typ + `--1"`
		objects, err := tr.Transform(t.Context(), item(head+","+c.in+"}"))
		want := head
		if c.want != "" {
			want += "," + c.want
		}
		if want += withBoth + "}"; err != nil || string(objects[2].JSON) != want {
			t.Errorf("%v %s: %v\n got %s\nwant %s", c.labels, c.in, err, objects[2].JSON, want)
		}
		if n := len(objects) - 3; n != 2*c.alsoPatterns {
			t.Errorf("%v %s: %d objects were derived", c.labels, c.in, n)
		}
	}
}

func TestTheNamesOfWhatLabelsBecomeAreRead(t *testing.T) {
	for _, l := range []Labels{LabelsAsKnowledge, LabelsKept, LabelsDropped} {
		if got, err := ParseLabels(l.String()); got != l || err != nil {
			t.Errorf("%v: %v, %v", l, got, err)
		}
	}
	if _, err := ParseLabels("all"); err == nil {
		t.Error("all was taken")
	}
}

func TestATechniqueAmongLabelsIsAnAttackPatternThatIsUsedOrIndicated(t *testing.T) {
	const pattern = "attack-pattern--6d1b58a3-5555-5aeb-aafd-cb4954959403"
	for typ, relation := range map[string]string{
		"threat-actor": "uses", "intrusion-set": "uses", "malware": "uses", "tool": "uses", "campaign": "uses", "indicator": "indicates",
	} {
		for _, asIntrusionSet := range []bool{true, false} {
			tr := mustNew(t, Config{TLP: "amber", ThreatActorAsIntrusionSet: asIntrusionSet})
			objects, err := tr.Transform(t.Context(), item(`{"type":"`+typ+`","id":"`+typ+`--1","created_by_ref":"identity--7",`+
				`"object_marking_refs":["marking-definition--8","marking-definition--9"],"labels":["T1078 - Valid \"Accounts\""]}`))
			if err != nil || len(objects) != 3 {
				t.Fatalf("%s: %v, %v", typ, objects, err)
			}
			inherited := `,"created_by_ref":"identity--7","object_marking_refs":["marking-definition--8","marking-definition--9"]}`
			source := objects[0].ID
			checkDerived(t, objects[1], pipeline.Object{ID: pattern, Type: "attack-pattern", Weak: true,
				Refs: []string{"identity--7", "marking-definition--8", "marking-definition--9"},
				JSON: []byte(`{"type":"attack-pattern","spec_version":"2.1","id":"` + pattern + `","name":"Valid \"Accounts\"","x_mitre_id":"T1078",` +
					`"external_references":[{"source_name":"mitre-attack","external_id":"T1078"}]` + inherited)})
			id := relationKey{relation, source, pattern}.id()
			checkDerived(t, objects[2], pipeline.Object{ID: id, Type: "relationship",
				Refs: []string{source, pattern, "identity--7", "marking-definition--8", "marking-definition--9"},
				JSON: []byte(`{"type":"relationship","spec_version":"2.1","id":"` + id + `","relationship_type":"` + relation +
					`","source_ref":"` + source + `","target_ref":"` + pattern + `"` + inherited)})
		}
	}
}

func checkDerived(t *testing.T, got, want pipeline.Object) {
	t.Helper()
	checkObject(t, got)
	if got.ID != want.ID || got.Type != want.Type || got.Weak != want.Weak || !slices.Equal(got.Refs, want.Refs) ||
		string(got.JSON) != string(want.JSON) || got.Digest == 0 || !got.Modified.IsZero() {
		t.Errorf("\n got %+v %s\nwant %+v %s", got, got.JSON, want, want.JSON)
	}
}

func TestManyLabelsAreAllTaken(t *testing.T) {
	const n = 10_000
	labels := make([]string, 0, 3*n)
	for i := range n {
		labels = append(labels, fmt.Sprintf("T%04d - Technique", i), fmt.Sprintf("label %d", i), fmt.Sprintf("label %d ", i))
	}
	objects, err := mustNew(t, knowing).Transform(t.Context(), item(`{"type":"tool","id":"tool--1","labels":["`+strings.Join(labels, `","`)+`"]}`))
	if err != nil || len(objects) != 3+2*n {
		t.Fatalf("%d objects, %v", len(objects), err)
	}
	if got := strings.Count(string(objects[2].JSON), `"label `); got != n {
		t.Errorf("%d labels", got)
	}
}

// drawLabels draws a list of labels and what looks like one.
func drawLabels(t *rapid.T) string {
	return `[` + strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{`"a"`, `" a"`, `""`, `"b\u0020"`, `null`, `7`, `"T1078 - Valid Accounts"`,
		`"T1078: valid accounts"`, `"T1566.004 - Voice"`, `"T1566"`}), 0, 6).Draw(t, "labels"), ",") + `]`
}

func TestWhatIsDerivedDoesNotDependOnAnyOrder(t *testing.T) {
	const nodes = 4
	types := []string{"threat-actor", "malware", "indicator", "campaign", "attack-pattern", "report"}
	for _, actors := range []bool{true, false} {
		tr := mustNew(t, Config{TLP: "amber", ThreatActorAsIntrusionSet: actors})
		rapid.Check(t, func(t *rapid.T) {
			draw := func() string {
				typ := rapid.SampledFrom(types).Draw(t, "type")
				return fmt.Sprintf("%s--%d", typ, rapid.IntRange(1, nodes).Draw(t, "number"))
			}
			var objects [][]string // the members of each
			for i := range rapid.IntRange(1, 6).Draw(t, "objects") {
				id := draw()
				typ, _, _ := strings.Cut(id, "--")
				// Copies of one object differ, so that all of them come.
				members := []string{`"type":"` + typ + `"`, `"id":"` + id + `"`, fmt.Sprintf(`"modified":"2025-01-0%dT00:00:00Z"`, i+1)}
				if rapid.Bool().Draw(t, "labelled") {
					members = append(members, `"labels":`+drawLabels(t))
				}
				if rapid.Bool().Draw(t, "marked") {
					members = append(members, `"object_marking_refs":["marking-definition--`+rapid.SampledFrom([]string{"1", "2"}).Draw(t, "marking")+`"]`)
				}
				if rapid.Bool().Draw(t, "lists") {
					members = append(members, fmt.Sprintf(`"object_refs":["%s","%s","%s"]`, draw(), draw(), draw()))
				}
				objects = append(objects, members)
			}
			for i := range rapid.IntRange(0, 3).Draw(t, "relations") {
				objects = append(objects, []string{`"type":"relationship"`, fmt.Sprintf(`"id":"relationship--own-%d"`, i),
					`"relationship_type":"` + rapid.SampledFrom([]string{"uses", "indicates", "related-to", "associated-content"}).Draw(t, "relation type") + `"`,
					`"source_ref":"` + draw() + `"`, `"target_ref":"` + draw() + `"`})
			}
			sent := func(objects [][]string) []string {
				texts := make([]string, len(objects))
				for i, members := range objects {
					texts[i] = "{" + strings.Join(members, ",") + "}"
				}
				var all []string
				derived := make(map[string]bool)
				out, _ := tr.Transform(t.Context(), item("["+strings.Join(texts, ",")+"]"))
				for _, o := range out {
					checkObject(t, o)
					if isDerived(o) && derived[o.ID] {
						t.Fatalf("%s comes twice", o.ID)
					}
					derived[o.ID] = true
					all = append(all, fmt.Sprintf("%s %d %v %v", canonical(o), o.Digest, slices.Sorted(slices.Values(o.Refs)), o.Weak))
				}
				slices.Sort(all)
				return all
			}
			want := sent(objects)
			shuffled := make([][]string, len(objects))
			for i, members := range rapid.Permutation(objects).Draw(t, "order") {
				shuffled[i] = rapid.Permutation(members).Draw(t, "members")
			}
			if got := sent(shuffled); !slices.Equal(got, want) {
				t.Fatalf("\n got %v\nwant %v\nfrom %v\n and %v", got, want, shuffled, objects)
			}
		})
	}
}

func isDerived(o pipeline.Object) bool {
	return o.Weak || o.Type == "relationship" && o.Modified.IsZero() && !strings.HasPrefix(o.ID, "relationship--own-")
}

// canonical returns the members of an object in order of their names. Of what is derived the text itself must not differ.
func canonical(o pipeline.Object) string {
	if isDerived(o) {
		return string(o.JSON)
	}
	members, _ := appendMembers(nil, o.JSON)
	slices.SortFunc(members, func(a, b member) int { return strings.Compare(string(a.name), string(b.name)) })
	var text strings.Builder
	for _, m := range members {
		fmt.Fprintf(&text, "%s:%s,", m.name, m.value)
	}
	return text.String()
}
