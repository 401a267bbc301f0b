package transform

import (
	"strings"
	"testing"
)

// mapMembers maps an object of these members and returns what became of them.
func mapMembers(t *testing.T, tr *Transformer, typ, members string) string {
	t.Helper()
	head := `{"type":"` + typ + `","id":"` + typ + `--1"`
	text := string(transformOne(t, tr, head+","+members+"}").JSON)
	return strings.TrimPrefix(strings.TrimSuffix(strings.TrimPrefix(text, head), withBoth+"}"), ",")
}

func TestNamesAndAliasesAreTrimmed(t *testing.T) {
	tr := mustNew(t, Config{TLP: "amber"})
	for _, c := range []struct{ name, in, want string }{
		{"line ends behind a name", `"name":"Grey Heron\n\n"`, `"name":"Grey Heron"`},
		{"all kinds of blanks around it", `"name":"\ufeff\u00a0\t Grey  Heron\u200b\r\n"`, `"name":"Grey  Heron"`},
		{"what needs no trimming stays as it is spelled", `"name":"Gr\u0065y\/Heron"`, `"name":"Gr\u0065y\/Heron"`},
		{"a remark in brackets is part of it", `"name":"Loader [profiles - 2342]"`, `"name":"Loader [profiles - 2342]"`},
		{"a name of blanks is none", `"name":" \n","x":1`, `"x":1`},
		{"an empty one too", `"name":""`, ``},
		{"what is no text stays", `"name":7`, `"name":7`},
		{"aliases", `"aliases":[" GH-7\n","GH-7"," ","","Heron; Subgroup 2: Egret","gh-7"]`, `"aliases":["GH-7","Heron; Subgroup 2: Egret","gh-7"]`},
		{"the name itself, before", `"aliases":["Grey Heron ","GH-7"],"name":"Grey Heron\n"`, `"aliases":["GH-7"],"name":"Grey Heron"`},
		{"the name itself, behind", `"name":"Grey Heron","aliases":["GH-7","Grey Heron"]`, `"name":"Grey Heron","aliases":["GH-7"]`},
		{"nothing but the name", `"name":"a","aliases":["a"," a"]`, `"name":"a"`},
		{"elements that are no text", `"aliases":[null,7,{"a":"b"},["c"],"d",true]`, `"aliases":["d"]`},
		{"no list", `"aliases":"GH-7","x_opencti_aliases":{"a":1},"x_mitre_aliases":7`, ``},
		{"no aliases", `"aliases":[]`, ``},
		{"null", `"aliases":null,"name":null`, ``},
		{"OpenCTI's and MITRE's", `"name":"a","x_opencti_aliases":["a","b "],"x_mitre_aliases":["a","c","c"],"x_amitt_aliases":["d"]`, `"name":"a","x_opencti_aliases":["b"],"x_mitre_aliases":["c"],"x_amitt_aliases":["d"]`},
		{"other lists stay", `"roles":[" a ","a"],"goals":[" b "]`, `"roles":[" a ","a"],"goals":[" b "]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := mapMembers(t, tr, "campaign", c.in); got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
		})
	}
	for _, typ := range []string{"file", "mutex", "windows-registry-value-type"} {
		if got := mapMembers(t, tr, typ, `"name":" a \n"`); got != `"name":" a \n"` {
			t.Errorf("%s, which is known by each letter of its name: %s", typ, got)
		}
	}
}

func TestMalformedMembersCostThemselves(t *testing.T) {
	tr := mustNew(t, Config{TLP: "amber"})
	const phase, reference = `{"kill_chain_name":"k","phase_name":"p"}`, `{"source_name":"s","url":"https://e.example/"}`
	for _, c := range []struct{ name, in, want string }{
		{"phases that are none", `"kill_chain_phases":["7",7,null,[],{},{"kill_chain_name":"k"},{"phase_name":"p"}]`, ``},
		{"phases of something else than text", `"kill_chain_phases":[{"kill_chain_name":1,"phase_name":2},{"kill_chain_name":"k","phase_name":null},{"kill_chain_name":"","phase_name":"p"}]`, ``},
		{"a phase among them", `"kill_chain_phases":["y",` + phase + `,` + phase + `,null]`, `"kill_chain_phases":[` + phase + `]`},
		{"a phase with more to say", `"kill_chain_phases":[{"kill_chain_name":"k","phase_name":"p","x_opencti_order":3}]`, `"kill_chain_phases":[{"kill_chain_name":"k","phase_name":"p","x_opencti_order":3}]`},
		{"no list of phases", `"kill_chain_phases":"impact","x_opencti_kill_chain_phases":{}`, ``},
		{"no phases", `"kill_chain_phases":[]`, ``},
		{"references that are none", `"external_references":["https://e.example/",7,null,[],{},{"source_name":"s"},{"external_id":"1"},{"description":"d"},{"url":7},{"url":" "}]`, ``},
		{"a reference among them", `"external_references":[null,` + reference + `,"x",` + reference + `]`, `"external_references":[` + reference + `]`},
		{"no list of references", `"external_references":` + reference, ``},
		{"an empty list stays one", `"external_references":[]`, `"external_references":[]`},
		{"members of a reference that are no text", `"external_references":[{"source_name":"s","url":"https://e.example/","external_id":7,"description":["d"],"x":7}]`, `"external_references":[{"source_name":"s","url":"https://e.example/","x":7}]`},
		{"a null beside source and id", `"external_references":[{"source_name":"s","external_id":"1","url":null}]`, `"external_references":[{"source_name":"s","external_id":"1"}]`},
		{"a reference without a source", `"external_references":[{"url":"https://Www.E.example:8443/a"},{"source_name":null,"url":"a/b"}]`, `"external_references":[{"url":"https://Www.E.example:8443/a","source_name":"www.e.example"},{"url":"a/b","source_name":"a/b"}]`},
		{"two sources of one address", `"external_references":[` + reference + `,{"source_name":"t","url":"https:\/\/e.example/"}]`, `"external_references":[` + reference + `]`},
		{"null members", `"a":null,"b":{"c":null},"confidence":null`, `"b":{"c":null}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := mapMembers(t, tr, "attack-pattern", c.in); got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestADescriptionThatIsNoTextIsLeftOutAndCounted(t *testing.T) {
	tr := mustNew(t, Config{TLP: "amber"})
	for i, text := range []string{`["x"]`, `7`, `{"a":"b"}`, `true`, `[]`} {
		if got := mapMembers(t, tr, "malware", `"description":`+text+`,"name":"n"`); got != `"name":"n"` || tr.Repaired() != uint64(i+1) {
			t.Errorf("%s: %s, %d counted", text, got, tr.Repaired())
		}
	}
	objects, err := tr.Transform(t.Context(), item(`[{"type":"malware","id":"malware--1","description":7},{"type":"malware"},{"type":"tool","id":"tool--1","description":null}]`))
	if countErrors(err) != 1 || len(objects) != 4 || tr.Repaired() != 6 {
		t.Errorf("%v, %d objects, %d counted", err, len(objects), tr.Repaired())
	}
}

func TestLinksOfADescriptionBecomeReferences(t *testing.T) {
	const text = `"description":"<p>See <a href=\"https://E.example:8443/a\">this</a>, <a href=\"https://f.example/\">that</a> and <a href=\"https://E.example:8443/a\">this again</a></p>"`
	const a, b = `{"source_name":"e.example","url":"https://E.example:8443/a"}`, `{"source_name":"f.example","url":"https://f.example/"}`
	for _, format := range []Format{HTML, Text, Markdown} {
		tr := mustNew(t, Config{TLP: "amber", Descriptions: format})
		for _, c := range []struct{ name, in, want string }{
			{"none of its own", text, `"external_references":[` + a + `,` + b + `]`},
			{"its own come first", `"external_references":[{"source_name":"x","external_id":"1"}],` + text, `"external_references":[{"source_name":"x","external_id":"1"},` + a + `,` + b + `]`},
			{"an address that it has", text + `,"external_references":[{"source_name":"x","url":"https://f.example/"}]`, `"external_references":[{"source_name":"x","url":"https://f.example/"},` + a + `]`},
			{"null", `"external_references":null,` + text, `"external_references":[` + a + `,` + b + `]`},
			{"no list", `"external_references":7,` + text, `"external_references":[` + a + `,` + b + `]`},
			{"an empty list", `"external_references":[],` + text, `"external_references":[` + a + `,` + b + `]`},
		} {
			got := mapMembers(t, tr, "malware", c.in)
			if !strings.Contains(got, c.want) || strings.Count(got, "external_references") != 1 {
				t.Errorf("%s, as %v:\n got %s\nwant %s", c.name, format, got, c.want)
			}
		}
	}
	if got := mapMembers(t, mustNew(t, Config{TLP: "amber", Labels: LabelsDropped}), "malware", text); strings.Contains(got, "external_references") {
		t.Errorf("release 7.260817 sent none: %s", got)
	}
	if got := mapMembers(t, mustNew(t, Config{TLP: "amber"}), "marking-definition", text); strings.Contains(got, "external_references") {
		t.Errorf("a marking has references: %s", got)
	}
	var many strings.Builder
	for i := range 80 {
		many.WriteString(`<a href=\"https://e.example/` + strings.Repeat("x", i) + `\">x</a>`)
	}
	if got := mapMembers(t, mustNew(t, Config{TLP: "amber"}), "malware", `"description":"`+many.String()+`"`); strings.Count(got, `"url"`) != 50 {
		t.Errorf("%d of 80 links", strings.Count(got, `"url"`))
	}
}
