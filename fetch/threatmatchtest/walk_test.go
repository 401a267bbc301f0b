package threatmatchtest

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
)

func TestAStrictClientReadsAllOfTheGeneratedDataInBothReadings(t *testing.T) {
	g := Generate(Shape{Seed: 7, Profiles: 40, Alerts: 30, Reports: 5, Indicators: 1030, TieGroup: 7})
	for _, inclusive := range []bool{false, true} {
		for _, noGzip := range []bool{false, true} {
			t.Run(fmt.Sprintf("inclusive=%v,plain=%v", inclusive, noGzip), func(t *testing.T) {
				_, c := serve(t, Config{Data: g, Inclusive: inclusive, PageSize: 50, NoGzip: noGzip})
				for name, want := range map[string]int{"profiles": 40, "alerts": 30, "reports": 5} {
					ids := c.list(name, time.Time{})
					if len(ids) != want {
						t.Errorf("%s: %d ids, want %d", name, len(ids), want)
					}
					for _, id := range ids {
						if len(c.item(name, id)) < 5 {
							t.Errorf("%s %d is too small", name, id)
						}
					}
				}
				if got := c.indicators(defaultStart.Add(-time.Second)); len(got) != 1030 {
					t.Errorf("%d indicators, want 1030", len(got))
				}
			})
		}
	}
}

func TestTheCorpusIsServedVerbatimInBothReadings(t *testing.T) {
	dir := corpus(t)
	f, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	indicators := fileLines(t, filepath.Join(dir, "indicators.ndjson.gz"))
	for _, inclusive := range []bool{false, true} {
		t.Run(fmt.Sprintf("inclusive=%v", inclusive), func(t *testing.T) {
			_, c := serve(t, Config{Data: f, Inclusive: inclusive})
			got := c.indicators(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))
			for _, line := range indicators {
				i, _ := parseIndicator(line)
				if !bytes.Equal(got[i.id], line) {
					t.Fatalf("%s is missing or differs", i.id)
				}
			}
			if len(got) != 4079 {
				t.Errorf("%d indicators, want 4079", len(got))
			}
		})
	}
	_, c := serve(t, Config{Data: f, NoGzip: true})
	for name, want := range map[string]int{"profiles": 172, "alerts": 52} {
		lines := fileLines(t, filepath.Join(dir, name+".ndjson.gz"))
		ids := c.list(name, time.Time{})
		if len(ids) != want || len(lines) != want {
			t.Fatalf("%s: %d ids of %d lines, want %d", name, len(ids), len(lines), want)
		}
		for i, id := range ids {
			status, _, body, err := c.body(fmt.Sprintf("/api/stix/%s/%d", name, id))
			if status != 200 || err != nil || !bytes.HasPrefix(lines[i], fmt.Appendf(nil, `{"id":%d,`, id)) ||
				!bytes.HasSuffix(lines[i], []byte(body[1:])) {
				t.Errorf("%s %d differs from its line: %d, %v", name, id, status, err)
			}
		}
	}
}

func fileLines(t *testing.T, name string) [][]byte {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	var lines [][]byte
	scan := bufio.NewScanner(z)
	scan.Buffer(nil, 64<<20)
	for scan.Scan() {
		lines = append(lines, bytes.Clone(scan.Bytes()))
	}
	if scan.Err() != nil {
		t.Fatal(scan.Err())
	}
	return lines
}

func TestABoundIsReadAsConfigured(t *testing.T) {
	at := func(fraction string) []byte {
		return []byte(`{"type":"indicator","id":"indicator--` + fraction + `","modified":"2026-01-01T00:00:00.` + fraction + `Z"}`)
	}
	f := new(Folder)
	for _, fraction := range []string{"100", "100000001", "1005", "101"} {
		if err := f.PutIndicator(at(fraction)); err != nil {
			t.Fatal(err)
		}
	}
	g := Generate(Shape{Seed: 1, Indicators: 30, TieGroup: 10})
	tie := time.UnixMicro(g.modified(1))
	for _, test := range []struct {
		name      string
		data      Data
		after     time.Time
		inclusive bool
		want      int
	}{
		{"folder, strict", f, time.Date(2026, 1, 1, 0, 0, 0, 100e6, time.UTC), false, 3},
		{"folder, inclusive", f, time.Date(2026, 1, 1, 0, 0, 0, 100e6, time.UTC), true, 4},
		{"folder, between", f, time.Date(2026, 1, 1, 0, 0, 0, 100e6+500, time.UTC), true, 2},
		{"folder, last, strict", f, time.Date(2026, 1, 1, 0, 0, 0, 101e6, time.UTC), false, 0},
		{"generated, strict", g, tie, false, 10},
		{"generated, inclusive", g, tie, true, 20},
		{"generated, a nanosecond before", g, tie.Add(-1), false, 20},
		{"generated, a nanosecond behind", g, tie.Add(1), true, 10},
		{"generated, before all", g, time.Time{}, false, 30},
		{"generated, behind all", g, tie.AddDate(1000, 0, 0), true, 0},
	} {
		if got, more := test.data.Indicators(test.after, test.inclusive, 100); len(got) != test.want || more {
			t.Errorf("%s: %d indicators, more %v, want %d", test.name, len(got), more, test.want)
		}
	}
}

func TestAPageSaysWhetherThereIsMore(t *testing.T) {
	g := Generate(Shape{Seed: 1, Indicators: 10})
	for limit, want := range map[int]bool{9: true, 10: false, 11: false} {
		if _, more := g.Indicators(time.Time{}, false, limit); more != want {
			t.Errorf("limit %d: more %v, want %v", limit, more, want)
		}
	}
}

func TestItemsAreListedFromTheirMinuteOn(t *testing.T) {
	g := Generate(Shape{Seed: 1, Profiles: 24, Span: 24 * time.Hour})
	f := new(Folder)
	for i := range 24 {
		if err := f.Put("profiles", int64(10_000+i), defaultStart.Add(time.Duration(i)*time.Hour), []byte("[]")); err != nil {
			t.Fatal(err)
		}
	}
	for _, data := range []Data{g, f} {
		_, c := serve(t, Config{Data: data})
		for since, want := range map[time.Duration]int{-time.Hour: 24, 0: 24, time.Minute: 23, 5 * time.Hour: 19, 24 * time.Hour: 0} {
			ids := c.list("profiles", defaultStart.Add(since))
			if len(ids) != want || want > 0 && ids[0] != int64(10_024-want) {
				t.Errorf("%T since %v: %v, want %d", data, since, ids, want)
			}
		}
	}
}

func TestGroupsOtherThanAllContentHoldNothing(t *testing.T) {
	_, c := serve(t, Config{Data: Generate(Shape{Indicators: 10})})
	if p := c.page("9001", time.Time{}, millis); p.More || len(p.Objects) != 0 {
		t.Errorf("the low confidence group holds %+v", p)
	}
	if p := c.page("9000", time.Time{}, millis); len(p.Objects) != 10 {
		t.Errorf("the group of all content holds %d", len(p.Objects))
	}
}
