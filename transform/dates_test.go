package transform

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

func TestEveryDateGoesOutAsOpenCTIReadsIt(t *testing.T) {
	for text, want := range map[string]string{
		`"2025-04-17T15:24:00Z"`:           "2025-04-17T15:24:00Z",
		`"2025-04-17T15:24:00.123456789Z"`: "2025-04-17T15:24:00.123456789Z",
		`"2025-04-17T17:24:00+02:00"`:      "2025-04-17T17:24:00+02:00",
		`"2025-04-17 15:24:00"`:            "2025-04-17T15:24:00.000Z",
		`"2025-04-17T15:24:00"`:            "2025-04-17T15:24:00.000Z",
		`"2025-04-17 15:24:00.123456"`:     "2025-04-17T15:24:00.123456Z",
		`"2025-04-17"`:                     "2025-04-17T00:00:00.000Z",
		`"2016-12-31T23:59:60Z"`:           "2017-01-01T00:00:00.000Z",
		`"2025-04-17T24:00:00Z"`:           "2025-04-18T00:00:00.000Z",
		`"2025-04-17T17:24:00+0200"`:       "2025-04-17T15:24:00.000Z",
		`" 2025-04-17T15:24:00Z "`:         "2025-04-17T15:24:00.000Z",
		`"yesterday"`:                      "",
		`""`:                               "",
		`1744903440`:                       "",
		`{"date":"2025-04-17T15:24:00Z"}`:  "",
		`"2025-02-30T15:24:00Z"`:           "",
	} {
		tr := mustNew(t, Config{TLP: "amber"})
		for _, name := range []string{"created", "modified", "first_seen", "last_seen"} {
			item := `[{"type":"campaign","id":"campaign--1","name":"a","` + name + `":` + text + `}]`
			objects, err := tr.Transform(t.Context(), pipeline.Item{Dataset: "alerts", ID: "7", Data: []byte(item)})
			if err != nil {
				t.Fatal(err)
			}
			var got map[string]any
			if err := json.Unmarshal(objects[len(objects)-1].JSON, &got); err != nil {
				t.Fatal(err)
			}
			if date, there := got[name]; want == "" && there || want != "" && date != want {
				t.Errorf("%s %s goes out as %v, want %q", name, text, date, want)
			}
		}
		if want == "" && tr.Repaired() != 4 {
			t.Errorf("%s: %d are counted", text, tr.Repaired())
		}
	}
}

func TestARestrictionThatIsWrittenCarelesslyIsStillOne(t *testing.T) {
	for marking, want := range map[string]string{
		`"` + tlpRed + `"`:                    tlpRed,
		`["` + strings.ToUpper(tlpRed) + `"]`: tlpRed,
		`[" ` + tlpRed + ` "]`:                tlpRed,
		`["TLP:RED"]`:                         tlpRed,
		`["tlp: amber+strict"]`:               tlpAmberStrict,
		`"TLP:GREEN"`:                         tlpGreen,
		`["TLP:PURPLE"]`:                      "TLP:PURPLE", // only OpenCTI can tell
		`["marking-definition--ABC"]`:         "marking-definition--ABC",
		`5`:                                   tlpAmber, // the default
	} {
		item := `[{"type":"tool","id":"tool--1","name":"a","object_marking_refs":` + marking + `}]`
		objects, err := mustNew(t, Config{TLP: "amber"}).Transform(t.Context(), pipeline.Item{Dataset: "alerts", ID: "7", Data: []byte(item)})
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Markings []string `json:"object_marking_refs"`
		}
		o := objects[len(objects)-1]
		if err := json.Unmarshal(o.JSON, &got); err != nil || len(got.Markings) != 1 || got.Markings[0] != want {
			t.Errorf("%s: %s, want %s", marking, o.JSON, want)
		}
		if want == tlpRed && o.Stated.Level != levelRed {
			t.Errorf("%s: states level %d", marking, o.Stated.Level)
		}
	}
}

// TestAPlainDateIsHashedAsTheMomentThatItIs holds digests to what they are on disk.
func TestAPlainDateIsHashedAsTheMomentThatItIs(t *testing.T) {
	for text, plain := range map[string]bool{
		"2025-04-17T15:24:00Z": true, "2025-04-17T15:24:00.000Z": true, "2025-04-17T15:24:10.1230Z": true, "2025-04-17T15:24:00.123456789Z": true,
		"2025-04-17T15:24:00.1234567890Z": false, "2025-04-30T15:24:00Z": false, "0001-01-01T00:00:00Z": false, "1999-01-01T00:00:00Z": false,
		"2025-04-17T15:24:00+00:00": false, "2025-04-17": false, "2025-04-17T15:24:00.Z": false, "": false,
	} {
		got, ok := plainMoment([]byte(`"` + text + `"`))
		if at := readTime([]byte(`"` + text + `"`)); ok != plain || ok && string(got)+"Z" != at.UTC().Format(time.RFC3339Nano) {
			t.Errorf("%s: %sZ, %t; it is %s", text, got, ok, at.UTC().Format(time.RFC3339Nano))
		}
	}
}

// TestWhatBeginsLikeADateIsReadAsOne whether its first characters are spelled out or escaped, and after blanks.
func TestWhatBeginsLikeADateIsReadAsOne(t *testing.T) {
	for value, is := range map[string]bool{
		`"2025-04-17"`: true, `" 2025-04-17"`: true, `"\u0032025-04-17T15:24Z"`: true, `"2025\u002d04-17"`: true, `"2\u003025-04-17"`: true, `"2001:db8::1"`: false, `"2025"`: false, `""`: false, `2025`: false,
	} {
		if got := !readTime([]byte(value)).IsZero(); got != is {
			t.Errorf("%s: %t", value, got)
		}
	}
}
