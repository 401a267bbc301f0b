package files

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestNamesSortAsTheyWereGiven(t *testing.T) {
	names := NewNames(connector)
	var given []string
	for _, after := range []time.Duration{0, 0, time.Nanosecond, time.Microsecond, -time.Hour, time.Second, time.Minute, 90 * time.Minute, 1000 * time.Hour} {
		given = append(given, names.Next(noon.Add(after).In(time.FixedZone("", -5*3600))))
	}
	if want := "threat_match-20261025-005959-1792889999.999999.json"; given[0] != want {
		t.Errorf("the first name is %q, want %q", given[0], want)
	}
	if !slices.IsSorted(given) || len(slices.Compact(slices.Clone(given))) != len(given) {
		t.Errorf("not in order, or not different: %q", given)
	}
	for _, name := range given {
		if at, own := writtenAt(prefixOf(connector), name); !own || at.Before(noon.Add(-2*time.Second)) {
			t.Errorf("%s is read as one of %v, %t", name, at, own)
		}
	}
}

func TestANameIsOneThatFilesCanHave(t *testing.T) {
	for connector, want := range map[string]string{
		"ThreatMatch":                      "threatmatch-",
		"Threat  Match":                    "threat__match-",
		"../../etc/passwd":                 "_._.._etc_passwd-",
		".hidden":                          "_hidden-",
		"a\x00b\nc\xff/d":                  "a_b_c__d-",
		`C:\x*?"<>|`:                       "c__x______-",
		"ÄÖ":                               "äö-",
		strings.Repeat("é", 150):           strings.Repeat("é", 100) + "-",
		"a" + strings.Repeat("é", 150):     "a" + strings.Repeat("é", 99) + "-",
		strings.Repeat("Threatmatch ", 30): strings.Repeat("threatmatch_", 30)[:200] + "-",
	} {
		if got := prefixOf(connector); got != want {
			t.Errorf("%q becomes %q, want %q", connector, got, want)
		}
		if name := NewNames(connector).Next(noon) + tmpSuffix; len(name) > 255 || strings.ContainsAny(name, "/\x00") {
			t.Errorf("%q becomes the name %q", connector, name)
		}
	}
}

func TestOnlyAConnectorsOwnFilesAreItsOwn(t *testing.T) {
	for name, want := range map[string]bool{
		"threatmatch-20261025-005959-1792889999.999999.json":     true,
		"threatmatch-20240105-005959-1704412799.9315429.json":    true, // of the Python client, in its local time
		"threatmatch-20240105-005959-1704412799.json":            true,
		"threatmatch-eu-20261025-005959-1792889999.999999.json":  false,
		"threatmatch-20261025-005959-1792889999.999999.json.tmp": false,
		"threatmatch-20261025-005959-1792889999.999999.txt":      false,
		"threatmatch-20261025-005959-x.json":                     false,
		"threatmatch-notes.json":                                 false,
		"otherfeed-20261025-005959-1792889999.999999.json":       false,
		"Threatmatch-20261025-005959-1792889999.999999.json":     false,
		"threatmatch-20261025-005959-99999999999999999999.json":  false,
	} {
		if _, own := writtenAt(prefixOf("ThreatMatch"), name); own != want {
			t.Errorf("%s: own is %t", name, own)
		}
	}
}
