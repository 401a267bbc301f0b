package threatmatchtest_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

func TestTheSpanIsThatOfWhatIsServed(t *testing.T) {
	generated := threatmatchtest.Generate(threatmatchtest.Shape{Profiles: 7, Indicators: 50, TieGroup: 3})
	at := time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)
	var folder threatmatchtest.Folder
	for i, day := range []int{3, -5, 9} {
		when := at.AddDate(0, 0, day)
		if err := folder.Put("profiles", int64(i), when, []byte("[]")); err != nil {
			t.Fatal(err)
		}
		if err := folder.PutIndicator(fmt.Appendf(nil, `{"id":"indicator--%d","modified":%q}`, i, when.Format(time.RFC3339))); err != nil {
			t.Fatal(err)
		}
	}
	if err := folder.PutIndicator([]byte(`{"id":"indicator--undated"}`)); err != nil {
		t.Fatal(err)
	}
	type served interface {
		threatmatchtest.Data
		Span(string) (oldest, newest time.Time)
	}
	for name, data := range map[string]served{"generated": generated, "folder": &folder} {
		t.Run(name, func(t *testing.T) {
			count := func(since time.Time) (n int) {
				for range data.IDs("profiles", since) {
					n++
				}
				return n
			}
			oldest, newest := data.Span("profiles")
			if all := count(time.Time{}); count(oldest) != all || count(oldest.Add(time.Microsecond)) == all || count(newest) != 1 || count(newest.Add(time.Microsecond)) != 0 {
				t.Errorf("profiles are said to lie from %v to %v", oldest, newest)
			}
			oldest, newest = data.Span("indicators")
			before, _ := data.Indicators(oldest.Add(-time.Microsecond), false, 1)
			first, _ := data.Indicators(time.Time{}, true, 1)
			last, _ := data.Indicators(newest, true, 10)
			behind, _ := data.Indicators(newest, false, 10)
			if string(before[0]) != string(first[0]) || len(last) == len(behind) || len(behind) > 1 {
				t.Errorf("indicators are said to lie from %v to %v: %s, %s, %d, %d", oldest, newest, before, first, len(last), len(behind))
			}
			for _, empty := range []string{"alerts", "reports", "others"} {
				if oldest, newest := data.Span(empty); !oldest.IsZero() || !newest.IsZero() {
					t.Errorf("%s are said to lie from %v to %v", strconv.Quote(empty), oldest, newest)
				}
			}
		})
	}
}
