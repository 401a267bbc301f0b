package relations

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// end is an end that only its id tells of.
func end(typ string) End { return End{ID: typ + "--1"} }

func TestRelationsGoUnderATypeThatOpenCTITakes(t *testing.T) {
	table := BuiltIn()
	for _, tt := range []struct {
		relation       string
		source, target End
		want           string
		same           bool
	}{
		{"uses", end("intrusion-set"), end("malware"), "uses", true},
		{"uses", end("intrusion-set"), end("vulnerability"), RelatedTo, false},
		{"attributed-to", end("campaign"), end("intrusion-set"), "attributed-to", true},
		{"attributed-to", end("intrusion-set"), end("intrusion-set"), RelatedTo, false},
		{"attributed-to", end("intrusion-set"), end("identity"), RelatedTo, false},
		{"cooperates-with", end("threat-actor"), end("threat-actor"), "cooperates-with", true},
		{"cooperates-with", end("intrusion-set"), end("intrusion-set"), RelatedTo, false},
		{"consists-of", end("malware"), end("tool"), RelatedTo, false},
		// What means the same, and what only seems to.
		{"located-at", end("intrusion-set"), end("location"), "originates-from", true},
		{"located-at", end("intrusion-set"), End{"location--1", Country}, "originates-from", true},
		{"located-at", end("campaign"), end("location"), "originates-from", true},
		{"located-at", end("threat-actor"), end("location"), "located-at", true},
		{"originates-from", end("threat-actor"), end("location"), RelatedTo, false},
		{"located-at", end("malware"), end("location"), RelatedTo, false},
		{"located-at", end("location"), end("intrusion-set"), RelatedTo, false},
		{"located-at", end("intrusion-set"), end("identity"), RelatedTo, false},
		{"uses", end("malware"), end("intrusion-set"), RelatedTo, false},
		// Another spelling is the same type.
		{"Uses", end("intrusion-set"), end("malware"), "uses", true},
		{"attributed_to", end("campaign"), end("intrusion-set"), "attributed-to", true},
		{"Located At", end("intrusion-set"), end("location"), "originates-from", true},
		{"related_to", end("report"), end("report"), RelatedTo, true},
		// Between any two entities.
		{"related-to", end("report"), end("marking-definition"), RelatedTo, true},
		{"revoked-by", end("attack-pattern"), end("attack-pattern"), "revoked-by", true},
		{"duplicate-of", end("malware"), end("malware"), RelatedTo, false},
		{"", end("malware"), end("malware"), RelatedTo, false},
		// Kinds narrow what the id leaves open.
		{"part-of", end("identity"), end("identity"), "part-of", true},
		{"part-of", End{"identity--1", Individual}, End{"identity--2", Organization}, "part-of", true},
		{"part-of", End{"identity--1", Individual}, End{"identity--2", Sector}, RelatedTo, false},
		{"part-of", End{"identity--1", Organization}, End{"identity--2", Sector}, "part-of", true},
		{"part-of", End{"identity--1", Individual}, end("identity"), "part-of", true},
		{"citizen-of", end("threat-actor"), End{"location--1", Country}, "citizen-of", true},
		{"citizen-of", End{"threat-actor--1", ThreatActorGroup}, End{"location--1", Country}, RelatedTo, false},
		{"citizen-of", End{"threat-actor--1", ThreatActorIndividual}, End{"location--1", City}, RelatedTo, false},
		// A kind that cannot be the id's says nothing.
		{"citizen-of", End{"threat-actor--1", Sector}, End{"location--1", 200}, "citizen-of", true},
		{"uses", End{"intrusion-set--1", Organization}, end("malware"), "uses", true},
		// STIX types with another name at OpenCTI.
		{"based-on", end("indicator"), end("file"), "based-on", true},
		{"based-on", end("indicator"), end("ipv4-addr"), "based-on", true},
		{"based-on", end("indicator"), end("ssh-key"), "based-on", true},
		{"based-on", end("indicator"), end("x-opencti-hostname"), "based-on", true},
		{"detects", end("x-mitre-data-component"), end("attack-pattern"), "detects", true},
		{"mitigates", end("course-of-action"), end("attack-pattern"), "mitigates", true},
		{"analysis-of", end("malware-analysis"), end("malware"), "analysis-of", true},
		{"resolves-to", end("domain-name"), end("ipv6-addr"), "resolves-to", true},
		{"resolves-to", end("url"), end("ipv6-addr"), RelatedTo, false},
		{"should-cover", End{"identity--1", SecurityPlatform}, end("attack-pattern"), "should-cover", true},
		{"mentions", end("report"), end("malware"), RelatedTo, false},
		// A relation can be an end.
		{"indicates", end("indicator"), end("relationship"), "indicates", true},
		{"located-at", end("relationship"), end("location"), "located-at", true},
		{"uses", end("malware"), end("relationship"), RelatedTo, false},
		// Of an id that is not of STIX anything is possible, but not everything.
		{"uses", End{ID: "8d8a5a4e"}, end("malware"), "uses", true},
		{"uses", End{ID: "8d8a5a4e"}, End{ID: "7c"}, "uses", true},
		{"uses", End{ID: "8d8a5a4e", Kind: Sector}, end("malware"), RelatedTo, false},
		{"invented-by", End{ID: "8d8a5a4e"}, end("malware"), RelatedTo, false},
	} {
		got, same := table.Fit(tt.relation, tt.source, tt.target)
		if got != tt.want || same != tt.same {
			t.Errorf("%s from %v to %v: got %q, %t; want %q, %t", tt.relation, tt.source, tt.target, got, same, tt.want, tt.same)
		}
		if again, same := table.Fit(got, tt.source, tt.target); again != got || !same {
			t.Errorf("%s from %v to %v becomes %s, and that %s", tt.relation, tt.source, tt.target, got, again)
		}
	}
}

func TestThePlatformsOwnTableCounts(t *testing.T) {
	table, err := New(map[string][]string{"Intrusion-Set_Vulnerability": {"uses"}, "Threat-Actor_Location": {"owns"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		relation       string
		source, target End
		want           bool
	}{
		{"uses", end("intrusion-set"), end("vulnerability"), true},
		{"uses", end("intrusion-set"), end("malware"), false},
		// Older releases have one type where newer ones have several.
		{"owns", End{"threat-actor--1", ThreatActorIndividual}, End{"location--1", Position}, true},
	} {
		if got := table.Takes(tt.relation, tt.source, tt.target); got != tt.want {
			t.Errorf("%s from %v to %v: %t", tt.relation, tt.source, tt.target, got)
		}
	}
}

func TestWhatIsNoWholeTableIsRefused(t *testing.T) {
	for name, mapping := range map[string]map[string][]string{
		"empty":           {},
		"nothing in it":   {"Malware_Tool": {}},
		"no pair":         {"Malware": {"uses"}},
		"half a pair":     {"Malware_": {"uses"}},
		"unexpanded type": {"Indicator_Stix-Cyber-Observable": {"based-on"}},
	} {
		if _, err := New(mapping); err == nil {
			t.Errorf("%s is taken for a table", name)
		}
	}
}

func TestTheBuiltInTableIsARealAnswer(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "spec", "relations.json"))
	if err != nil {
		t.Skipf("reference data is not here: %v", err)
	}
	var want, got struct{ Mapping map[string][]string }
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(builtIn, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Mapping) != len(want.Mapping) {
		t.Errorf("%d pairs, want %d", len(got.Mapping), len(want.Mapping))
	}
	for key, types := range want.Mapping {
		slices.Sort(types)
		if !slices.Equal(got.Mapping[key], slices.Compact(types)) {
			t.Errorf("%s: got %q, want %q", key, got.Mapping[key], types)
		}
	}
}

// FuzzFit holds for any type and any ends: what comes out is taken, and is settled.
func FuzzFit(f *testing.F) {
	f.Add("attributed-to", "intrusion-set--1", "identity--1", uint8(0), Organization)
	f.Add("Located_At", "campaign--1", "location--1", uint8(0), City)
	f.Add("uses", "x", "relationship--1", uint8(255), uint8(0))
	table := BuiltIn()
	f.Fuzz(func(t *testing.T, relation, source, target string, sourceKind, targetKind uint8) {
		s, d := End{source, sourceKind}, End{target, targetKind}
		got, _ := table.Fit(relation, s, d)
		if !table.Takes(got, s, d) {
			t.Errorf("%s is not taken", got)
		}
		if again, same := table.Fit(got, s, d); again != got || !same {
			t.Errorf("%s becomes %s, and that %s", relation, got, again)
		}
	})
}

func BenchmarkTakes(b *testing.B) {
	table := BuiltIn()
	source, target := End{"intrusion-set--1", 0}, End{"attack-pattern--1", 0}
	for b.Loop() {
		if !table.Takes("uses", source, target) {
			b.Fatal("refused")
		}
	}
}
