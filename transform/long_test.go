package transform

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// A digest is what the index on disk knows an object by: of a long text it is one sum over all parts, whatever was summed before.
func TestALongTextHasOneDigestAllItsLife(t *testing.T) {
	tr := mustNew(t, Config{TLP: "amber", Descriptions: HTML})
	long := func(first string) string {
		var b strings.Builder
		fmt.Fprintf(&b, `{"type":"tool","id":"tool--1","modified":"2025-01-01T00:00:00Z","a":"%s"`, first)
		for i := range 6 {
			fmt.Fprintf(&b, `,"m%d":"%s"`, i, strings.Repeat(fmt.Sprint("words ", i), mostText/12))
		}
		return b.String() + "}"
	}
	digest := func(text string) uint64 { return transformOne(t, tr, text).Digest }
	one, other := digest(long("one")), digest(long("other"))
	if one == other {
		t.Error("two texts that differ in their first part have one digest")
	}
	if again := digest(long("one")); again != one {
		t.Error("a text has another digest after another one")
	}
	const known = 7656718747204301998
	if one != known {
		t.Errorf("the digest is %d: every installation would send such objects again", one)
	}
}

// Words that are shown as they are said may hold what JSON escapes.
func TestWhatADescriptionShowsIsWrittenAsJSON(t *testing.T) {
	tr := mustNew(t, Config{TLP: "amber", Descriptions: Markdown})
	for _, said := range []string{`he said \"x\"`, `C:\\temp`, `a\tb`, `caf\u00e9`, `\u003cp\u003ewords \"x\"\u003c/p\u003e`} {
		for _, text := range []string{said, "<p>" + said + "</p>"} {
			o := transformOne(t, tr, `{"type":"tool","id":"tool--1","description":"`+text+`"}`)
			if !json.Valid(o.JSON) {
				t.Errorf("%s becomes %s", text, o.JSON)
			}
		}
	}
}

// What is in the pool is used again for any other item, in hours or never: until then it must keep nothing of this one.
func TestWhatIsUsedAgainKeepsNothingOfAnItem(t *testing.T) {
	s := newScratch()
	for _, n := range []int{40, 3, 12} {
		s.text = []byte("text")
		for range n {
			m := member{quoted: []byte(`"a"`), name: []byte("a"), value: []byte("1")}
			s.members, s.inner = append(s.members, m), append(s.inner, m)
			s.hash.top, s.hash.members = append(s.hash.top, m), append(s.hash.members, m)
		}
		s.release()
		for name, list := range map[string][]member{"members": s.members, "inner": s.inner, "top": s.hash.top, "hashed": s.hash.members} {
			for _, m := range list[:cap(list)] {
				if m.quoted != nil || m.name != nil || m.value != nil {
					t.Fatalf("after %d members one of %s is left", n, name)
				}
			}
		}
		if s.text != nil {
			t.Error("the item's text is left")
		}
	}
}
