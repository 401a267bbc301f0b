package threatmatchtest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"pgregory.net/rapid"
)

func TestAFolderIsReadPlainOrZippedAndInOrderOfModified(t *testing.T) {
	dir := t.TempDir()
	z, err := os.Create(filepath.Join(dir, "reports.ndjson.gz"))
	if err != nil {
		t.Fatal(err)
	}
	zip := gzip.NewWriter(z)
	fmt.Fprintln(zip, `{"id":7,"date":"2026-02-03T04:05:06.789Z","objects":[{"a": 1,"a":1E400}, 9007199254740993]}`)
	zip.Close()
	z.Close()
	write(t, dir, "indicators.ndjson", strings.Join([]string{
		`{"id":"e","modified":"soon"}`, `{"id":"f"}`, `{"id":"d","modified":"2026-01-02T00:00:00Z"}`, ``,
		`{"id":"a","modified":"2026-01-01"}`, `{"id":"c","modified":"2026-01-01T23:30:00-0100"}`, `{"id":"b","modified":"2026-01-01 23:59:60"}`,
	}, "\n"))
	f, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := f.Item("reports", "7"); !ok || string(got) != `[{"a": 1,"a":1E400}, 9007199254740993]` {
		t.Errorf("item %q, %v", got, ok)
	}
	// d is at midnight, as b is, a leap second, and c half an hour later, at 23:30 an hour behind UTC.
	for after, want := range map[string]string{"2025-12-31T00:00:00Z": "adbcef", "2026-01-01T12:00:00Z": "dbcef", "2027-01-01T00:00:00Z": "ef"} {
		bound, _ := time.Parse(time.RFC3339, after)
		served := ""
		objects, _ := f.Indicators(bound, false, 9)
		for _, o := range objects {
			served += string(o[7])
		}
		if served != want {
			t.Errorf("after %s come %s, want %s", after, served, want)
		}
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAFolderThatCannotBeServedIsRefusedWithItsLine(t *testing.T) {
	const item = `{"id":1,"date":"2026-01-01T00:00:00Z","objects":[]}` + "\n"
	for _, test := range []struct{ name, text, want string }{
		{"nothing.txt", "", "no profiles.ndjson"},
		{"profiles.ndjson", item + item + "{", "profiles.ndjson line 3"},
		{"profiles.ndjson", item + `{"date":"2026-01-01T00:00:00Z","objects":[]}`, "line 2: an item has an id"},
		{"alerts.ndjson", `{"id":1,"objects":[]}`, "alerts.ndjson line 1: an item has"},
		{"alerts.ndjson", `{"id":1,"date":"2026-01-01T00:00:00Z","objects":{}}`, "alerts.ndjson line 1: an item has"},
		{"reports.ndjson.gz", "plain", "reports.ndjson.gz"},
		{"indicators.ndjson", `{"modified":"2026-01-01T00:00:00Z"}`, "indicators.ndjson line 1: it has no id"},
		{"indicators.ndjson", `{"id":7}`, "indicators.ndjson line 1"},
	} {
		dir := t.TempDir()
		write(t, dir, test.name, test.text)
		if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q in it", test.name, err, test.want)
		}
	}
}

func TestWhatChangesWhileItIsServedIsServedChanged(t *testing.T) {
	f := new(Folder)
	put := func(id int64, day int, objects string) {
		if err := f.Put("profiles", id, defaultStart.AddDate(0, 0, day), []byte(objects)); err != nil {
			t.Fatal(err)
		}
	}
	put(2, 0, `[2]`)
	put(1, 0, `[1]`)
	var s *Server
	s, c := serve(t, Config{Data: f, OnCall: func(call Call) {
		if strings.HasSuffix(call.Path, "/all") && call.Status == 0 {
			put(3, 5, `[3]`)
			put(2, 5, `[2,2]`)
		}
	}})
	if got := c.list("profiles", defaultStart); !slices.Equal(got, []int64{2, 1, 3}) {
		t.Errorf("list %v", got)
	}
	if got := c.item("profiles", 2); len(got) != 2 {
		t.Errorf("item %s", got)
	}
	if n := s.Count("/api/stix/profiles/*"); n != 1 {
		t.Errorf("%d calls", n)
	}
	if f.Put("none", 1, defaultStart, nil) == nil {
		t.Error("an item was put where nothing is served")
	}
}

// TestIndicatorsStayInOrderOfModified compares a folder with a list that is sorted anew for each answer.
func TestIndicatorsStayInOrderOfModified(t *testing.T) {
	type indicator struct{ id, minute int }
	text := func(i indicator) string {
		return fmt.Sprintf(`{"id":"i%d","modified":"2026-01-01T00:%02d:00Z"}`, i.id, i.minute)
	}
	rapid.Check(t, func(t *rapid.T) {
		f := new(Folder)
		var model []indicator
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				i := indicator{rapid.IntRange(0, 9).Draw(t, "id"), rapid.IntRange(0, 5).Draw(t, "minute")}
				if err := f.PutIndicator([]byte(text(i))); err != nil {
					t.Fatal(err)
				}
				model = append(slices.DeleteFunc(model, func(m indicator) bool { return m.id == i.id }), i)
			},
			"": func(t *rapid.T) {
				after, inclusive := rapid.IntRange(0, 5).Draw(t, "after"), rapid.Bool().Draw(t, "inclusive")
				limit := rapid.IntRange(1, 6).Draw(t, "limit")
				var want []string
				for minute := range 6 {
					for _, m := range model {
						if m.minute == minute && (minute > after || inclusive && minute == after) {
							want = append(want, text(m))
						}
					}
				}
				objects, more := f.Indicators(defaultStart.Add(time.Duration(after)*time.Minute), inclusive, limit)
				var got []string
				for _, o := range objects {
					got = append(got, string(o))
				}
				if more != (len(want) > limit) || !slices.Equal(got, want[:min(limit, len(want))]) {
					t.Fatalf("%v, more %v, want %v", got, more, want)
				}
			},
		})
	})
}

func TestAFolderMayBeReadAndChangedAtTheSameMoment(t *testing.T) {
	f := new(Folder)
	var all sync.WaitGroup
	for worker := range int64(4) {
		all.Go(func() {
			for n := range int64(50) {
				id := worker*50 + n
				_ = f.Put("alerts", id, defaultStart, []byte("[]"))
				_ = f.PutIndicator(fmt.Appendf(nil, `{"id":"%d","modified":"2026-01-01T00:00:00Z"}`, id))
				for range f.IDs("alerts", time.Time{}) {
				}
				f.Indicators(time.Time{}, false, 10)
				if _, ok := f.Item("alerts", fmt.Sprint(id)); !ok {
					t.Errorf("item %d is not there", id)
				}
			}
		})
	}
	all.Wait()
	if got, _ := f.Indicators(time.Time{}, false, 1000); len(got) != 200 {
		t.Errorf("%d indicators", len(got))
	}
}

func FuzzALineIsTakenOrRefused(f *testing.F) {
	f.Add([]byte(`{"id":1,"date":"2026-01-01T00:00:00Z","objects":[{"id":"x"}]}`))
	f.Add([]byte(`{"id":"a","modified":"2026-01-01T00:00:00.123456Z"}`))
	f.Add([]byte(`{"id":1,"id":2,"date":"\ud800","objects":[`))
	f.Fuzz(func(t *testing.T, line []byte) {
		folder := new(Folder)
		item, indicator := folder.addItem("profiles", line), folder.addIndicator(line)
		if n := len(slices.Collect(folder.IDs("profiles", time.Time{}))); item == nil && n > 1 || item != nil && n > 0 {
			t.Errorf("%d items after %v", n, item)
		}
		if (indicator == nil) != (len(folder.indicators) == 1) {
			t.Errorf("%d indicators after %v", len(folder.indicators), indicator)
		}
	})
}
