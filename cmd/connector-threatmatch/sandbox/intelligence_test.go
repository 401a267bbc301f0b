package sandbox

import (
	"fmt"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

func TestAnImportFromTheFirstDayBringsAllThatThereIs(t *testing.T) {
	midnight := time.Date(2024, 5, 5, 0, 0, 0, 0, time.UTC)
	item := func(at time.Time) *threatmatchtest.Folder {
		data := new(threatmatchtest.Folder)
		if err := data.Put("alerts", 1, at, []byte("[]")); err != nil {
			t.Fatal(err)
		}
		return data
	}
	indicator := func(at time.Time) *threatmatchtest.Folder {
		data := new(threatmatchtest.Folder)
		if err := data.PutIndicator(fmt.Appendf(nil, `{"id":"indicator--1","modified":%q}`, at.Format(time.RFC3339))); err != nil {
			t.Fatal(err)
		}
		return data
	}
	for name, tt := range map[string]struct {
		data intelligence
		want string
	}{
		"generated":               {threatmatchtest.Generate(threatmatchtest.Shape{Alerts: 1, Indicators: 9}), "2026-01-01"},
		"nothing":                 {new(threatmatchtest.Folder), "1970-01-01"},
		"an item":                 {item(midnight), "2024-05-05"},
		"an indicator":            {indicator(midnight.Add(time.Second)), "2024-05-05"},
		"an indicator at its day": {indicator(midnight), "2024-05-04"},
		"before all beginnings":   {item(midnight.AddDate(-100, 0, 0)), "1970-01-01"},
	} {
		if got := firstDay(tt.data); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}
