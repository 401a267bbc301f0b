package emit

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

func TestAnObjectComesBackFromDiskAsItWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := pipeline.Object{
			ID: rapid.String().Draw(t, "id"), Type: rapid.String().Draw(t, "type"), AltID: rapid.String().Draw(t, "second id"),
			Digest: rapid.Uint64().Draw(t, "digest"), JSON: rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "text"),
		}
		if refs := rapid.SliceOfN(rapid.String(), 0, 50).Draw(t, "refs"); len(refs) > 0 {
			want.Refs = refs
		}
		if micro := rapid.Int64Range(-1<<55, 1<<55).Draw(t, "modified"); micro != 0 {
			want.Modified = time.UnixMicro(micro).UTC()
		}
		got, err := decodeObject(encodeObject(want))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestATextThatIsCutOffIsNoObject(t *testing.T) {
	text := encodeObject(pipeline.Object{ID: "report--1", Type: "report", Refs: []string{"note--1", "note--2"}, JSON: []byte("{}")})
	for n := range len(text) - 1 { // the last byte is the JSON text's own
		if o, err := decodeObject(text[:n]); err == nil {
			t.Errorf("%d of %d bytes became %+v", n, len(text), o)
		}
	}
}

func FuzzDecodeObject(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Add([]byte{1, 2, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 1, 'x'})
	f.Add(encodeObject(pipeline.Object{ID: "report--1", Type: "report", AltID: "a", Refs: []string{"note--1"}, Digest: 1 << 63, Modified: time.Unix(1, 0), JSON: []byte(`{"a":1}`)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := decodeObject(b)
		if err != nil {
			return
		}
		if len(o.Refs) > len(b) {
			t.Fatalf("%d references in %d bytes", len(o.Refs), len(b))
		}
		again, err := decodeObject(encodeObject(o))
		if err != nil {
			t.Fatalf("what was read cannot be written and read again: %v", err)
		}
		if diff := cmp.Diff(o, again); diff != "" {
			t.Fatal(diff)
		}
	})
}
