package transform

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// derivedFrom returns the relations, as "source type target", and the ids of the rest that an item amounts to beyond what it
// brings itself, in order.
func derivedFrom(t *testing.T, c Config, objects ...string) []string {
	t.Helper()
	tr := mustNew(t, c)
	out, err := tr.Transform(t.Context(), item("["+strings.Join(objects, ",")+"]"))
	if err != nil {
		t.Fatalf("%v in %v", err, objects)
	}
	var derived []string
	for _, o := range out {
		checkObject(t, o)
		r := new(scratch).relationOf(o)
		switch {
		case o.ID == tr.mapping.author.ID, o.ID == tr.mapping.marking.ID, slices.ContainsFunc(objects, func(text string) bool {
			return strings.Contains(strings.ReplaceAll(text, "threat-actor", "intrusion-set"), `"id":"`+strings.ReplaceAll(o.ID, "threat-actor", "intrusion-set")+`"`)
		}):
		case r.typ != "":
			if o.ID != r.id() || o.Weak {
				t.Errorf("%s is not the id of %v", o.ID, r)
			}
			derived = append(derived, r.source+" "+r.typ+" "+r.target)
		default:
			derived = append(derived, o.ID)
		}
	}
	return derived
}

func TestWhatIsListedBecomesRelations(t *testing.T) {
	list := func(id string, refs ...string) string {
		typ, _, _ := strings.Cut(id, "--")
		return `{"type":"` + typ + `","id":"` + id + `","object_refs":["` + strings.Join(refs, `","`) + `"]}`
	}
	relate := func(id, typ, source, target string) string {
		return fmt.Sprintf(`{"type":"relationship","id":"relationship--%s","relationship_type":"%s","source_ref":"%s","target_ref":"%s"}`, id, typ, source, target)
	}
	const pattern = "attack-pattern--6d1b58a3-5555-5aeb-aafd-cb4954959403" // T1078
	for _, c := range []struct {
		name string
		in   []string
		want []string
	}{
		{"indicators", []string{list("threat-actor--1", "indicator--1", "indicator--2", "indicator--1")},
			[]string{"indicator--1 indicates intrusion-set--1", "indicator--2 indicates intrusion-set--1"}},
		{"of each type that has any", []string{list("campaign--1", "indicator--1"), list("malware--1", "indicator--1"), list("tool--1", "indicator--1"),
			list("attack-pattern--1", "indicator--1"), list("intrusion-set--1", "indicator--1")},
			[]string{"indicator--1 indicates campaign--1", "indicator--1 indicates malware--1", "indicator--1 indicates tool--1",
				"indicator--1 indicates attack-pattern--1", "indicator--1 indicates intrusion-set--1"}},
		{"of types that are not known to have any", []string{list("identity--1", "indicator--1"), list("indicator--9", "malware--1"), list("vulnerability--1", "malware--1"),
			`{"type":"relationship","id":"relationship--1","relationship_type":"uses","source_ref":"tool--1","target_ref":"tool--2","object_refs":["indicator--1"]}`}, nil},
		{"of containers", []string{list("report--1", "indicator--1"), list("grouping--1", "malware--1"), list("x-opencti-case-rft--1", "malware--1")}, nil},
		{"others", []string{list("threat-actor--1", "campaign--1", "malware--1", "identity--1", "location--1", "report--1", "ipv4-addr--1")},
			[]string{"intrusion-set--1 related-to campaign--1", "intrusion-set--1 related-to identity--1", "intrusion-set--1 related-to ipv4-addr--1",
				"intrusion-set--1 related-to location--1", "intrusion-set--1 related-to malware--1", "intrusion-set--1 related-to report--1"}},
		{"an actor", []string{list("malware--1", "threat-actor--1")}, []string{"malware--1 related-to intrusion-set--1"}},
		{"itself", []string{list("threat-actor--1", "threat-actor--1", "intrusion-set--1"),
			`{"type":"tool","id":"tool--1","x_opencti_id":"tool--2","object_refs":["tool--2"]}`}, nil},
		{"what can be no end", []string{list("tool--1", "relationship--1", "sighting--1", "marking-definition--1", "x-custom--1", "loose", "", "label--1")}, nil},
		{"no list", []string{`{"type":"tool","id":"tool--1","object_refs":"indicator--1"}`, `{"type":"tool","id":"tool--2","object_refs":null}`,
			`{"type":"tool","id":"tool--3","object_refs":[7,null,["indicator--1"]]}`}, nil},
		{"the item relates the two", []string{list("malware--1", "campaign--1", "tool--1", "tool--2"), relate("a", "uses", "campaign--1", "malware--1"),
			relate("b", "uses", "malware--1", "tool--1")}, []string{"malware--1 related-to tool--2"}},
		{"the item relates the actors", []string{relate("a", "targets", "threat-actor--1", "identity--1"), list("threat-actor--1", "identity--1")}, nil},
		{"the item brings the relation", []string{list("malware--1", "indicator--1", "indicator--2"), relate("a", "indicates", "indicator--1", "malware--1"),
			relate("b", "related-to", "indicator--2", "malware--1")}, []string{"indicator--2 indicates malware--1"}},
		{"the item brings the technique's relation", []string{`{"type":"tool","id":"tool--1","labels":["T1078 - Valid Accounts"]}`, relate("a", "uses", "tool--1", pattern)},
			[]string{pattern}},
		{"the item brings the technique", []string{`{"type":"tool","id":"tool--1","labels":["T1078 - Valid Accounts"]}`,
			`{"type":"attack-pattern","id":"` + pattern + `","name":"Valid Accounts","description":"more"}`}, []string{"tool--1 uses " + pattern}},
		{"a technique that is labelled and listed", []string{`{"type":"tool","id":"tool--1","labels":["T1078 - Valid Accounts"],"object_refs":["` + pattern + `"]}`},
			[]string{pattern, "tool--1 uses " + pattern}},
		{"each other", []string{list("tool--2", "tool--1"), list("tool--1", "tool--2")}, []string{"tool--1 related-to tool--2"}},
		{"two copies", []string{list("tool--1", "tool--2", "indicator--1"), list("tool--1", "tool--3", "indicator--1")},
			[]string{"indicator--1 indicates tool--1", "tool--1 related-to tool--2", "tool--1 related-to tool--3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := derivedFrom(t, knowing, c.in...); !slices.Equal(got, c.want) {
				t.Errorf("\n got %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestActorsThatStayActorsAreRelatedAsSuch(t *testing.T) {
	got := derivedFrom(t, Config{TLP: "amber"}, `{"type":"threat-actor","id":"threat-actor--1","object_refs":["indicator--1","intrusion-set--1"],"labels":["T1078 - x"]}`)
	want := []string{"attack-pattern--6d1b58a3-5555-5aeb-aafd-cb4954959403", "threat-actor--1 uses attack-pattern--6d1b58a3-5555-5aeb-aafd-cb4954959403",
		"indicator--1 indicates threat-actor--1", "threat-actor--1 related-to intrusion-set--1"}
	if !slices.Equal(got, want) {
		t.Errorf("\n got %q\nwant %q", got, want)
	}
}

func TestIDsAreThoseThatOpenCTIsClientDerives(t *testing.T) {
	for r, want := range map[relationKey]string{
		{"uses", "intrusion-set--11631e8d-f47b-565f-99da-b7ffc3c49707", "attack-pattern--6d1b58a3-5555-5aeb-aafd-cb4954959403"}: "relationship--c8bbccab-4599-5c76-ac98-77667cd67d2d",
		{"related-to", "tool--\"é\n", "tool--1"}: "relationship--b41eab46-a22d-5ed1-b62d-619b72f17cdc",
	} {
		if got := r.id(); got != want {
			t.Errorf("%v: %s, want %s", r, got, want)
		}
	}
}

func TestAContainerKeepsItsContent(t *testing.T) {
	for typ := range strings.FieldsSeq(`report note opinion observed-data grouping case-incident case-rfi case-rft feedback task
		x-opencti-case-incident x-opencti-case-rfi x-opencti-case-rft x-opencti-feedback x-opencti-task`) {
		text := `{"type":"` + typ + `","id":"` + typ + `--1","object_refs":["indicator--1","tool--1"]` + withBoth + `}`
		objects, err := mustNew(t, knowing).Transform(t.Context(), item(text))
		if err != nil || len(objects) != 3 || string(objects[2].JSON) != text {
			t.Errorf("%s: %v, %v", typ, objects, err)
		}
	}
}

func TestOfWhatIsDerivedTwiceTheStricterMarkingStays(t *testing.T) {
	from := func(id string, stated pipeline.Stated, name string) claim {
		return claim{source: pipeline.Object{ID: id, Type: "tool", Stated: stated}, techniques: []technique{{"T1078", name}}}
	}
	for _, c := range []struct{ less, more pipeline.Stated }{
		{pipeline.Stated{Level: 4, Author: 1}, pipeline.Stated{Level: 6}},
		{pipeline.Stated{Level: 4}, pipeline.Stated{Level: 4, Author: 1}},
	} {
		for _, claims := range [][]claim{
			{from("tool--1", c.less, "Z"), from("tool--2", c.more, "A")},
			{from("tool--2", c.more, "A"), from("tool--1", c.less, "Z")},
		} {
			objects, _ := (&mapping{wantsDerived: new(filters).wantsDerived}).derive(&scratch{ctx: t.Context()}, nil, claims)
			at := slices.IndexFunc(objects, func(o pipeline.Object) bool { return o.Weak })
			if len(objects) != 3 || !strings.Contains(string(objects[at].JSON), `"name":"A"`) || objects[at].Stated.Level != c.more.Level || objects[at].Stated.Author != c.more.Author {
				t.Errorf("%+v", objects)
			}
		}
	}
}

// labelled is an object with so many techniques and markings.
func labelled(techniques, markings int) string {
	var b strings.Builder
	b.WriteString(`{"type":"malware","id":"malware--1","is_family":false,"labels":[""`)
	for i := range techniques {
		fmt.Fprintf(&b, `,"T%d.%03d - Name"`, 1000+i/1000, i%1000)
	}
	b.WriteString(`],"object_marking_refs":["` + tlpAmber + `"`)
	for i := range markings {
		fmt.Fprintf(&b, `,"marking-definition--%d"`, i)
	}
	return b.String() + "]}"
}

func TestWhatAnItemAmountsToIsBoundedAndTheRestIsTold(t *testing.T) {
	const techniques, markings = 3000, 1000
	objects, err := mustNew(t, knowing).Transform(t.Context(), item("["+labelled(techniques, markings)+"]"))
	size, derived, largest := 0, 0, 0
	for _, o := range objects {
		if o.ID != "malware--1" {
			size, derived, largest = size+len(o.JSON), derived+1, max(largest, len(o.JSON))
		}
	}
	if size > mostDerived+largest {
		t.Errorf("%d objects of %d bytes", derived, size)
	}
	var left *ObjectError
	if !errors.As(err, &left) || left.Why != TooMuchDerived || derived < 100 || derived+left.More != 2*techniques+2 { // and author and marking
		t.Errorf("%d are derived: %v", derived, err)
	}
}

func TestWhatReplacesADerivedObjectCountsToo(t *testing.T) {
	const techniques, markings = 8000, 1000
	item := item("[" + labelled(techniques, 0) + "," + strings.Replace(labelled(techniques, markings), tlpAmber, tlpRed, 1) + "]")
	objects, _ := mustNew(t, knowing).Transform(t.Context(), item)
	size := 0
	for _, o := range objects {
		if o.ID != "malware--1" {
			size += len(o.JSON)
		}
	}
	if size > mostDerived+(1<<20) {
		t.Errorf("an item of %d bytes amounts to %d", len(item.Data), size)
	}
}

func TestFiftyThousandIndicatorsOfAProfileAreRelated(t *testing.T) {
	const indicators = 50_000
	var b strings.Builder
	b.WriteString(`[{"type":"intrusion-set","id":"intrusion-set--7a4b1e70-3c7e-4b4e-8a5a-0f4b9a5b7c11","name":"x","object_refs":[""`)
	for i := range indicators {
		fmt.Fprintf(&b, `,"indicator--%08d-3c7e-4b4e-8a5a-0f4b9a5b7c11"`, i)
	}
	objects, err := mustNew(t, knowing).Transform(t.Context(), item(b.String()+"]}]"))
	if err != nil || len(objects) < indicators {
		t.Errorf("%d objects, %v", len(objects), err)
	}
}

// endingContext ends once it has been looked at so many times.
type endingContext struct {
	context.Context
	looks int
}

func (c *endingContext) Err() error {
	if c.looks--; c.looks < 0 {
		return context.Canceled
	}
	return nil
}

func TestDerivingEndsWithTheContext(t *testing.T) {
	s := newScratch()
	s.ctx = &endingContext{t.Context(), 100}
	var techniques []technique
	for i := range 1000 {
		techniques = append(techniques, technique{fmt.Sprint("T", i), "name"})
	}
	claims := []claim{{source: pipeline.Object{ID: "tool--1", Type: "tool"}, techniques: techniques}}
	if objects, _ := (&mapping{wantsDerived: new(filters).wantsDerived}).derive(s, nil, claims); len(objects) > 100 {
		t.Errorf("%d objects are derived of an item that nobody wants any more", len(objects))
	}
	ctx := &endingContext{t.Context(), 10}
	if objects, err := mustNew(t, knowing).Transform(ctx, item("["+labelled(1000, 1)+"]")); objects != nil {
		t.Errorf("%d objects of an item that nobody wants any more, %v", len(objects), err)
	}
}

func TestWhatIsDerivedSharesTheMarkings(t *testing.T) {
	objects, err := mustNew(t, knowing).Transform(t.Context(), item("["+labelled(2, 100)+"]"))
	var patterns []pipeline.Object
	for _, o := range objects {
		if o.Type == "attack-pattern" {
			patterns = append(patterns, o)
		}
	}
	if err != nil || len(patterns) != 2 || len(patterns[0].Refs) != 102 || &patterns[0].Refs[0] != &patterns[1].Refs[0] {
		t.Errorf("the references of 100 markings are copied, %v", err)
	}
}

func TestARelationOfAnObjectToItselfIsLeftOutAndNamed(t *testing.T) {
	for _, c := range []struct{ in, reason string }{
		{`{"type":"relationship","id":"relationship--1","source_ref":"tool--1","target_ref":"tool--1"}`, "itself"},
		{`{"type":"relationship","id":"relationship--1","target_ref":"threat-actor--1","source_ref":"intrusion-set--1"}`, "itself"},
		{`{"type":"relationship","id":"relationship--1","source_ref":"\u0074ool--1","target_ref":"tool--1"}`, "itself"},
		{`{"type":"sighting","id":"sighting--1","where_sighted_refs":["identity--1"],"sighting_of_ref":"identity--1"}`, "where_sighted_refs"},
		{`{"type":"sighting","id":"sighting--1","sighting_of_ref":"threat-actor--1","where_sighted_refs":["intrusion-set--1"]}`, "where_sighted_refs"},
	} {
		objects, err := mustNew(t, knowing).Transform(t.Context(), item(c.in))
		var named *ObjectError
		if len(objects) > 0 || !errors.As(err, &named) || !strings.HasSuffix(named.ObjectID, "--1") || !strings.Contains(named.Text, c.reason) {
			t.Errorf("%s: %v, %v", c.in, objects, err)
		}
	}
	for in, want := range map[string]string{
		`{"type":"sighting","id":"sighting--1","where_sighted_refs":["identity--1","identity--2"],"sighting_of_ref":"identity--1"` + withBoth + `}`: `{"type":"sighting","id":"sighting--1","where_sighted_refs":["identity--2"],"sighting_of_ref":"identity--1"` + withBoth + `}`,
		`{"type":"tool","id":"tool--1","source_ref":"tool--2","target_ref":"tool--2"` + withBoth + `}`:                                              `{"type":"tool","id":"tool--1","source_ref":"tool--2","target_ref":"tool--2"` + withBoth + `}`,
	} {
		if got := transformOne(t, mustNew(t, knowing), in); string(got.JSON) != want {
			t.Errorf("\n got %s\nwant %s", got.JSON, want)
		}
	}
}

func TestAssociatedContentIsRelatedToInBothSpellings(t *testing.T) {
	for typ, want := range map[string]string{
		"associated-content": "related-to", "associated_content": "related-to", `associated\u002dcontent`: "related-to", "associated content": "associated content",
	} {
		text := `{"type":"relationship","id":"relationship--1","relationship_type":"%s","source_ref":"tool--1","target_ref":"tool--2"` + withBoth + `}`
		if got := transformOne(t, mustNew(t, knowing), fmt.Sprintf(text, typ)); string(got.JSON) != fmt.Sprintf(text, want) {
			t.Errorf("%s: %s", typ, got.JSON)
		}
	}
}
