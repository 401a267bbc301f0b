package files

import (
	"encoding/json"
	"io"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// TestADocumentIsWhatOpenCTIsClientWrites has the members of pycti's _create_message_bundle, of release 7.261026.0.
func TestADocumentIsWhatOpenCTIsClientWrites(t *testing.T) {
	bundle := []byte(`{"type":"bundle","objects":[{"n":12345678901234567890,"text":"<&>"}]}`)
	text := Document{Kind: InBucket, ApplicantID: "user", Connector: Connector{
		ID: "id", Name: `Threat "Match"`, Type: "EXTERNAL_IMPORT", Scope: []string{"a", "b"}, ValidateBeforeImport: true,
	}}.Around(bundle)
	if &text[1][0] != &bundle[0] {
		t.Error("the bundle was copied")
	}
	var got any
	if err := json.Unmarshal([]byte(joined(text)), &got); err != nil {
		t.Fatalf("%v: %s", err, joined(text))
	}
	want := map[string]any{
		"bundle_type": "S3_BUNDLE", "applicant_id": "user",
		"connector":      map[string]any{"id": "id", "name": `Threat "Match"`, "type": "EXTERNAL_IMPORT", "scope": "a,b", "auto": false, "validate_before_import": true},
		"entities_types": []any{},
		"bundle":         map[string]any{"type": "bundle", "objects": []any{map[string]any{"n": 12345678901234567890.0, "text": "<&>"}}},
		"update":         false,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestPartsAreReadAsOne(t *testing.T) {
	for _, text := range []parts{{}, {nil, []byte("a"), {}, []byte("bcd"), []byte("e")}, document(InBucket, 100)} {
		if err := iotest.TestReader(text.reader(), []byte(joined(text))); err != nil {
			t.Error(err)
		}
		if all, err := io.ReadAll(text.reader()); err != nil || string(all) != joined(text) {
			t.Errorf("read %q, %v", all, err)
		}
	}
}
