package transform

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// shared returns the path of a reference file beside the repository, or skips the test.
func shared(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if filepath.Dir(dir) == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
	path := filepath.Join(dir, "..", "shared", name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("reference data is not here: %v", err)
	}
	return path
}

// lines reads a gzipped file of one JSON text a line.
func lines(t testing.TB, name string) [][]byte {
	t.Helper()
	f, err := os.Open(shared(t, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	sc := bufio.NewScanner(z)
	sc.Buffer(nil, 1<<26)
	for sc.Scan() {
		all = append(all, bytes.Clone(sc.Bytes()))
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func load(t testing.TB, name string, into any) {
	t.Helper()
	b, err := os.ReadFile(shared(t, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatal(err)
	}
}

func mustNew(t testing.TB, c Config) *Transformer {
	t.Helper()
	tr, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// upstreamConfig is how the reference answers were made.
var upstreamConfig = Config{TLP: "amber", ThreatActorAsIntrusionSet: true, Descriptions: Text, Labels: LabelsDropped}

func items(raw ...json.RawMessage) pipeline.Item {
	return pipeline.Item{Dataset: "profiles", ID: "1", Data: append(append([]byte("["), bytes.Join(toBytes(raw), []byte(","))...), ']')}
}

func item(text string) pipeline.Item {
	return pipeline.Item{Dataset: "profiles", ID: "1", Data: []byte(text)}
}

func toBytes(raw []json.RawMessage) [][]byte {
	all := make([][]byte, len(raw))
	for i, r := range raw {
		all[i] = r
	}
	return all
}

// normal writes JSON anew, token by token: what is left is what it means and the order of keys.
func normal(t testing.TB, text []byte) string {
	t.Helper()
	var out bytes.Buffer
	dec, enc := jsontext.NewDecoder(bytes.NewReader(text)), jsontext.NewEncoder(&out)
	for {
		tok, err := dec.ReadToken()
		if err != nil {
			break
		}
		if err := enc.WriteToken(tok); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
	}
	return strings.TrimSpace(out.String())
}

// without removes top-level members for which drop says so.
func without(t testing.TB, text []byte, drop func(name, value string) bool) []byte {
	t.Helper()
	v := jsontext.Value(bytes.Clone(text))
	if err := v.Compact(); err != nil {
		t.Fatal(err)
	}
	members, _ := appendMembers(nil, v)
	out := []byte("{")
	for _, m := range members {
		if drop(string(m.name), string(m.value)) {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(out, m.quoted...), ':'), m.value...)
	}
	return append(out, '}')
}

// nullRef names what upstream sends where a reference was taken away: this connector leaves the member out.
func nullRef(name, value string) bool {
	return strings.HasSuffix(name, "_ref") && (value == "null" || value == `""`)
}

// nullRefs names as well the markings of what upstream sends without any.
func nullRefs(name, value string) bool {
	return nullRef(name, value) || name == markingKey && value == "[]"
}

// clean does what a run does: of copies of one object the greatest has the last word, and references that nothing brings go,
// until nothing changes any more. The standard markings are always there.
func clean(tr *Transformer, objects []pipeline.Object) map[string]pipeline.Object {
	left := make(map[string]pipeline.Object)
	for _, o := range objects {
		if known, seen := left[o.ID]; !seen || hasLastWord(o, known) {
			left[o.ID] = o
		}
	}
	for {
		known := make(map[string]bool)
		for _, o := range left {
			known[o.ID], known[o.AltID] = true, true
		}
		gone := false
		for id, o := range left {
			next, ok := tr.WithoutRefs(o, func(ref string) bool { _, standard := StandardMarking(ref); return !known[ref] && !standard })
			left[id] = next
			if !ok {
				delete(left, id)
				gone = true
			}
		}
		if !gone {
			return left
		}
	}
}

// hasLastWord says whether o and not p has the last word of an object: the newer, of one version the one that states more.
func hasLastWord(o, p pipeline.Object) bool {
	authored := func(o pipeline.Object) int { return min(int(o.Stated.Author), 1) }
	return cmp.Or(o.Modified.Compare(p.Modified), cmp.Compare(o.Stated.Level, p.Stated.Level),
		cmp.Compare(authored(o), authored(p)), cmp.Compare(o.Digest, p.Digest)) > 0
}

// transformOne maps an item of one good object and returns that object.
func transformOne(t testing.TB, tr *Transformer, text string) pipeline.Object {
	t.Helper()
	objects, err := tr.Transform(t.Context(), item(text))
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return objects[len(objects)-1]
}
