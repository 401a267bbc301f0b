package transform

import (
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"
)

// reported is the text of an object as a worker reports it: spaced, and with its own members.
func reported(t failer, text []byte) []byte {
	v := jsontext.Value(strings.TrimSuffix(string(text), "}") + `,"nb_deps":3,"x_opencti_granted_refs":null,"opencti_upsert_operations":null}`)
	if err := v.Format(jsontext.SpaceAfterColon(true), jsontext.SpaceAfterComma(true), jsontext.Multiline(false)); err != nil {
		t.Fatal(err)
	}
	return v
}

// failer is what ordinary and property tests have in common.
type failer interface{ Fatal(...any) }

func TestAReportedObjectIsReadBackAsItWasSent(t *testing.T) {
	tr := mustNew(t, Config{TLP: "red", ThreatActorAsIntrusionSet: true, Descriptions: Markdown})
	rapid.Check(t, func(t *rapid.T) {
		objects, _ := tr.Transform(t.Context(), item(drawItem.Draw(t, "item")))
		for _, o := range objects {
			got, err := Reread(reported(t, o.JSON))
			if err != nil {
				t.Fatalf("%s: %v", o.JSON, err)
			}
			if want := withoutNulls(t, o.JSON); string(got.JSON) != want {
				t.Errorf("\n got %s\nwant %s", got.JSON, want)
			}
			if got.ID != o.ID || got.AltID != o.AltID || got.Type != o.Type || got.Kind != o.Kind || !got.Modified.Equal(o.Modified) || !slices.Equal(got.Refs, o.Refs) {
				t.Errorf("\n got %+v\nwant %+v", got, o)
			}
			if got.Digest != 0 {
				t.Errorf("%s: a copy that may be poorer than what ThreatMatch brings has a digest", o.JSON)
			}
		}
	})
}

// withoutNulls is the text of an object without its members that are null, and all else letter for letter.
func withoutNulls(t failer, text []byte) string {
	members, ok := appendMembers(nil, text)
	if !ok {
		t.Fatal("no object: " + string(text))
	}
	var kept []string
	for _, m := range members {
		if !isNull(m.value) {
			kept = append(kept, string(m.quoted)+":"+string(m.value))
		}
	}
	return "{" + strings.Join(kept, ",") + "}"
}

func TestWhatIsNoObjectIsNotReadBack(t *testing.T) {
	for name, text := range map[string]string{
		"nothing": "", "a sentence": "Bundle too large", "a sentence that begins like one": "{'id': 'malware--1'}",
		"two": `[{"type":"malware","id":"malware--1"},{"type":"malware","id":"malware--2"}]`, "a text": `"malware--1"`, "no id": `{"type":"malware"}`,
		"no type": `{"id":"malware--1"}`, "cut off": `{"type":"malware","id":"malware--1"`, "infinite": `{"type":"malware","id":"malware--1","n":Infinity}`,
	} {
		t.Run(name, func(t *testing.T) {
			if o, err := Reread([]byte(text)); err == nil {
				t.Errorf("read %+v", o)
			}
		})
	}
}
