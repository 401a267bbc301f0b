package threatmatchtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"
)

// everything yields each object of the data as often as it is served, indicators last.
func everything(g *Generated, yield func(dataset string, object []byte)) error {
	for _, name := range []string{"profiles", "alerts", "reports"} {
		for id := range g.IDs(name, time.Time{}) {
			item, ok := g.Item(name, strconv.FormatInt(id, 10))
			if !ok {
				return fmt.Errorf("%s %d is listed and not there", name, id)
			}
			d := jsontext.NewDecoder(bytes.NewReader(item)) // strict: UTF-8, no duplicate names
			if _, err := d.ReadToken(); err != nil {
				return err
			}
			for d.PeekKind() == '{' {
				object, err := d.ReadValue()
				if err != nil {
					return fmt.Errorf("%s %d: %w", name, id, err)
				}
				yield(name, bytes.Clone(object))
			}
			if _, err := d.ReadToken(); err != nil {
				return fmt.Errorf("%s %d: %w", name, id, err)
			}
		}
	}
	objects, _ := g.Indicators(time.Time{}, false, g.total)
	for _, o := range objects {
		if !jsontext.Value(o).IsValid() {
			return fmt.Errorf("indicator %s", o)
		}
		yield("indicators", o)
	}
	return nil
}

func digest(t *testing.T, g *Generated) string {
	t.Helper()
	sum := sha256.New()
	if err := everything(g, func(_ string, o []byte) { sum.Write(o) }); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

// The bytes of a seed are a promise: figures and failures name seeds.
func TestASeedGivesTheSameBytesEverywhere(t *testing.T) {
	shape := Shape{Seed: 42, Profiles: 30, Alerts: 30, Reports: 10, Indicators: 300, TieGroup: 3}
	got := digest(t, Generate(shape))
	if want := "b562dc54dc37b164"; got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
	if again := digest(t, Generate(shape)); again != got {
		t.Errorf("then %s", again)
	}
	shape.Seed++
	if other := digest(t, Generate(shape)); other == got {
		t.Error("another seed gives the same bytes")
	}
}

// seen is what is known of an id.
type seen struct {
	text     []byte
	datasets map[string]bool
}

// survey walks the data and knows each id; it fails on objects that lack what STIX asks of all, and on copies that differ.
func survey(t *testing.T, g *Generated) map[string]*seen {
	t.Helper()
	all := map[string]*seen{}
	err := everything(g, func(dataset string, o []byte) {
		_, rest, _ := bytes.Cut(o, []byte(`"id":"`))
		id, _, _ := bytes.Cut(rest, []byte(`"`))
		if s := all[string(id)]; s != nil {
			if !bytes.Equal(s.text, o) {
				t.Fatalf("%s comes in two versions", id)
			}
			s.datasets[dataset] = true
			return
		}
		var common struct {
			ID, Type          string
			Spec              string `json:"spec_version"`
			Created, Modified string
		}
		if err := json.Unmarshal(o, &common); err != nil {
			t.Fatal(err)
		}
		_, errCreated := time.Parse(time.RFC3339Nano, common.Created)
		_, errModified := time.Parse(time.RFC3339Nano, common.Modified)
		if common.Type == "marking-definition" {
			errModified = nil
		}
		if !strings.HasPrefix(common.ID, common.Type+"--") || common.Spec != "2.1" || errCreated != nil || errModified != nil {
			t.Fatalf("not STIX: %s", o)
		}
		all[common.ID] = &seen{o, map[string]bool{dataset: true}}
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestTheMediumShapeHasTheMeasuredSize(t *testing.T) {
	g := Generate(Shape{Seed: 1, Profiles: 500, Alerts: 500, Indicators: 20_000})
	all := map[string][]byte{}
	size, kinds := 0, map[string]int{}
	see := func(object []byte) {
		_, rest, _ := bytes.Cut(object, []byte(`"id":"`))
		id, _, _ := strings.Cut(string(rest[:80]), `"`)
		if text, has := all[id]; has {
			if !bytes.Equal(text, object) {
				t.Fatalf("%s comes in two versions", id)
			}
			return
		}
		all[id] = object
		size += len(object)
		kind, _, _ := strings.Cut(id, "--")
		kinds[kind]++
	}
	for _, set := range []dataset{profiles, alerts} {
		for i := range 500 {
			const open = `{"type":"` // of each object, and of nothing within one
			item := g.item(set, i)
			for _, rest := range bytes.Split(item[:len(item)-1], []byte(open))[1:] {
				see(append([]byte(open), bytes.TrimSuffix(rest, []byte(","))...))
			}
		}
	}
	indicators, _ := g.Indicators(time.Time{}, false, g.total)
	for _, object := range indicators {
		see(object)
	}
	t.Logf("%d objects of %d bytes: %v", len(all), size/len(all), kinds)
	if len(all) < 31_000 || len(all) > 32_500 {
		t.Errorf("%d different objects, want about 31,700", len(all))
	}
	if mean := size / len(all); mean < 1000 || mean > 1500 {
		t.Errorf("%d bytes an object, want 1000 to 1500", mean)
	}
	for _, kind := range []string{
		"threat-actor", "intrusion-set", "malware", "attack-pattern", "tool", "identity", "location",
		"vulnerability", "campaign", "report", "marking-definition", "relationship", "indicator",
	} {
		if kinds[kind] == 0 {
			t.Errorf("no %s", kind)
		}
	}
}

func TestTheDataHasTheOdditiesOfTheRealOne(t *testing.T) {
	all := survey(t, Generate(Shape{Seed: 5, Profiles: 300, Alerts: 300, Indicators: 1000}))
	count := map[string]int{}
	for _, s := range all {
		var o struct {
			Type                         string
			Relation                     string   `json:"relationship_type"`
			Source                       string   `json:"source_ref"`
			Target                       string   `json:"target_ref"`
			Author                       string   `json:"created_by_ref"`
			Refs                         []string `json:"object_refs"`
			Markings                     []string `json:"object_marking_refs"`
			Labels                       []string
			Phases                       []any           `json:"kill_chain_phases"`
			External                     []any           `json:"external_references"`
			FirstSeen                    string          `json:"first_seen"`
			Serial                       json.RawMessage `json:"x_threatmatch_serial"`
			Description, Country, Region string
		}
		if err := json.Unmarshal(s.text, &o); err != nil {
			t.Fatal(err)
		}
		has := func(what string, yes bool) {
			if yes {
				count[what]++
			}
		}
		has("no author", o.Author == "")
		has("an author", o.Author != "")
		has("an author that is brought", all[o.Author] != nil)
		has("no marking", o.Markings == nil)
		has("a marking", o.Markings != nil)
		has("labels", o.Labels != nil)
		has("phases", o.Phases != nil)
		has("external references", o.External != nil)
		has("first_seen", o.FirstSeen != "")
		has("a country", o.Country != "")
		has("a number that no float holds", len(o.Serial) > 17)
		has("stray object_refs", o.Refs != nil && o.Type != "report")
		has("associated_content", o.Relation == "associated_content")
		has("a report with an actor", o.Type == "report" && slices.ContainsFunc(o.Refs, func(id string) bool { return strings.HasPrefix(id, "threat-actor") }))
		has("comes with profiles and alerts", s.datasets["profiles"] && s.datasets["alerts"])
		has("relations", o.Relation != "")
		has("relations that lead nowhere", o.Relation != "" && all[o.Target] == nil)
		if o.Relation != "" && all[o.Source] == nil {
			t.Errorf("nothing brings the source of %s", s.text)
		}
		for _, what := range []string{
			"<table>", "<ul>", "<ol>", "<h3>", "<a href=", "&amp;", "&#8220;", "&eacute;", "naïve", "Киев", "北京", "déjà", "🔒",
			"if a<b then", "List<string>", "<br />",
		} {
			has(what, strings.Contains(o.Description, what))
		}
	}
	for _, what := range []string{
		"no author", "an author", "an author that is brought", "no marking", "a marking", "labels", "phases", "external references", "first_seen",
		"a country", "a number that no float holds", "stray object_refs", "associated_content", "a report with an actor",
		"comes with profiles and alerts", "relations", "relations that lead nowhere",
		"<table>", "<ul>", "<ol>", "<h3>", "<a href=", "&amp;", "&#8220;", "&eacute;", "naïve", "Киев", "北京", "déjà", "🔒",
		"if a<b then", "List<string>", "<br />",
	} {
		if count[what] == 0 {
			t.Errorf("nothing with %s", what)
		}
	}
	if count["relations that lead nowhere"]*20 > count["relations"] {
		t.Errorf("%d of %d relations lead nowhere", count["relations that lead nowhere"], count["relations"])
	}
}

func TestSomeRelationsPointAtWhatOnlyAnotherItemBrings(t *testing.T) {
	g := Generate(Shape{Seed: 5, Profiles: 100})
	all, outside := survey(t, g), 0
	for id := range g.IDs("profiles", time.Time{}) {
		item, _ := g.Item("profiles", strconv.FormatInt(id, 10))
		var objects []struct {
			ID     string
			Target string `json:"target_ref"`
		}
		if err := json.Unmarshal(item, &objects); err != nil {
			t.Fatal(err)
		}
		brought := map[string]bool{}
		for _, o := range objects {
			if brought[o.ID] {
				t.Fatalf("profile %d brings %s twice", id, o.ID)
			}
			brought[o.ID] = true
		}
		for _, o := range objects {
			if o.Target != "" && !brought[o.Target] && all[o.Target] != nil {
				outside++
			}
		}
	}
	if outside < 20 || outside > 150 {
		t.Errorf("%d relations of 100 profiles", outside)
	}
}

func TestIndicatorsAreInOrderAndTieInGroups(t *testing.T) {
	g := Generate(Shape{Seed: 9, Indicators: 5000, TieGroup: 25})
	objects, _ := g.Indicators(time.Time{}, false, 5000)
	var last time.Time
	run, micro := 0, 0
	for i, o := range objects {
		d, err := parseIndicator(o)
		if err != nil {
			t.Fatal(err)
		}
		if d.modified.Before(last) {
			t.Fatalf("indicator %d goes back", i)
		}
		if !d.modified.Equal(last) {
			if i > 0 && run != 25 {
				t.Fatalf("a tie of %d before indicator %d", run, i)
			}
			run = 0
		}
		if d.modified.UnixMicro()%1000 != 0 {
			micro++
		}
		last = d.modified
		run++
	}
	if micro < 4000 {
		t.Errorf("only %d have microseconds", micro)
	}
}

func TestTimesAndIdsAreWellFormed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		us := rapid.Int64Range(-60_000_000_000_000_000, 200_000_000_000_000_000).Draw(t, "us")
		got := string(appendTime(nil, us))
		back, err := time.Parse(time.RFC3339Nano, got)
		if err != nil || back.UnixMicro() != us || len(got) < 24 || got[len(got)-1] != 'Z' {
			t.Fatalf("%d is written %s, read %v, %v", us, got, back, err)
		}
		id := string(appendUUID(nil, rapid.Uint64().Draw(t, "hash")))
		if len(id) != 36 || id[8] != '-' || id[13] != '-' || id[18] != '-' || id[23] != '-' || id[14] != '5' ||
			!strings.ContainsRune("89ab", rune(id[19])) {
			t.Fatalf("id %s", id)
		}
	})
}

func TestShapesOfAnySizeAreServed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		few := rapid.IntRange(0, 5)
		shape := Shape{
			Seed: rapid.Uint64().Draw(t, "seed"), Profiles: few.Draw(t, "profiles"), Alerts: few.Draw(t, "alerts"),
			Reports: few.Draw(t, "reports"), Indicators: rapid.IntRange(0, 200).Draw(t, "indicators"),
			Span: time.Duration(rapid.IntRange(0, 1e6).Draw(t, "span")), TieGroup: rapid.IntRange(0, 9).Draw(t, "tie"),
		}
		indicators := 0
		err := everything(Generate(shape), func(dataset string, _ []byte) {
			if dataset == "indicators" {
				indicators++
			}
		})
		if err != nil || indicators != shape.Indicators {
			t.Fatalf("%d indicators of %+v: %v", indicators, shape, err)
		}
	})
}
