package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

func TestAStateOfTheConnectorBeforeIsRead(t *testing.T) {
	want := time.Date(2025, 4, 17, 15, 24, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		`{"last_run": "2025-04-17T15:24:00+00:00"}`:        want,
		`{"last_run":"2025-04-17T15:24:00Z"}`:              want,
		`{"last_run": "2025-04-17T17:24:00+02:00"}`:        want,
		`{"last_run": "2025-04-17T15:24:00"}`:              want, // isoformat() of a naive time
		`{"last_run": "2025-04-17T15:24:00.123456+00:00"}`: want.Add(123456 * time.Microsecond),
		`{"last_run": "2025-04-17T15:24:00.123456"}`:       want.Add(123456 * time.Microsecond),
		`{"last_run": "2025-04-17 15:24:00+00:00"}`:        want, // str()
		`{"last_run": "2025-04-17 15:24:00.5"}`:            want.Add(500 * time.Millisecond),
		`{"last_run": 1744903440}`:                         want,
		`{"last_run": 1744903440.25}`:                      want.Add(250 * time.Millisecond),
		`{"last_run": 1.74490344e9, "other": [1]}`:         want,
	} {
		d, err := parse(text)
		if err != nil || !d.lastRun.Equal(want) || len(d.datasets) != 0 {
			t.Errorf("%s: %v, %v", text, d.lastRun, err)
		}
	}
}

func TestNoStateIsNoError(t *testing.T) {
	for _, text := range []string{"", " ", "null", "{}", " {} ", `""`, "null\n"} {
		d, err := parse(text)
		if err != nil || !d.empty() || d.text() != "null" {
			t.Errorf("%q: %+v, %v", text, d, err)
		}
	}
}

func TestAStateThatCannotBeReadIsRefusedWithWhatToDo(t *testing.T) {
	dataset := func(cursor string) string { return `{"datasets":{"iocs":` + cursor + `}}` }
	for text, want := range map[string]error{
		`{"last_run": "2025-04-17T15:24:0`: ErrUnreadable,
		`[]`:                               ErrUnreadable,
		`5`:                                ErrUnreadable,
		`"state"`:                          ErrUnreadable,
		`{"something": "else"}`:            ErrUnreadable,
		`{"last_run": null}`:               ErrUnreadable,
		`{"last_run": "yesterday"}`:        ErrUnreadable,
		`{"last_run": ""}`:                 ErrUnreadable,
		`{"last_run": 0}`:                  ErrUnreadable,
		`{"last_run": -5}`:                 ErrUnreadable,
		`{"last_run": 1e300}`:              ErrUnreadable,
		`{"last_run": 1E400}`:              ErrUnreadable,
		`{"last_run": 1744903440000}`:      ErrUnreadable, // milliseconds
		`{"last_run": true}`:               ErrUnreadable,
		`{"last_run": "9999-12-31T23:59:59-05:00"}`: ErrUnreadable, // the year 10000 cannot be written
		`{"last_run": "0001-01-01T00:00:00+05:00"}`: ErrUnreadable,
		dataset(`{}`):            ErrUnreadable,
		dataset(`null`):          ErrUnreadable,
		dataset(`{"since":"x"}`): ErrUnreadable,
		dataset(`{"since":"2025-04-17T15:24:00Z","pass":{}}`):  ErrUnreadable,
		dataset(`{"since":"2025-04-17T15:24:00Z","pass":"7"}`): ErrUnreadable,
		`{"last_run": "2025-04-17T15:24:00Z", "datasets": 7}`:  ErrUnreadable,
		`{"last_run": "2025-04-17T15:24:00Z", "version": "1"}`: ErrUnreadable,
		`{"last_run": "2025-04-17T15:24:00Z", "index": 1}`:     ErrUnreadable,
		`{"works": [{"id":"w","run":-1}]}`:                     ErrUnreadable,
		`{"works": [{"id":"w","from":{"datasets":{"a":{}}}}]}`: ErrUnreadable,
		`{"last_run": "2025-04-17T15:24:00Z", "version": 2}`:   ErrNewer,
		`{"datasets": "otherwise", "version": 2}`:              ErrNewer,
	} {
		_, err := parse(text)
		if !errors.Is(err, want) || (want == ErrUnreadable) == errors.Is(err, ErrNewer) {
			t.Errorf("%s: %v", text, err)
		}
		if err != nil && !strings.Contains(err.Error(), "reset the connector") {
			t.Errorf("%s: nothing says what to do: %v", text, err)
		}
	}
}

const written = `{"last_run":"2025-04-17T15:24:00+00:00",` +
	`"datasets":{"alerts":{"since":"2025-04-10T00:00:00Z","pass":{"started":"2025-04-17T15:24:00Z","after":"1234","kept_from":"1200"},"failed":["17","23"]},` +
	`"iocs":{"since":"2025-04-10T00:00:00Z","pass":{"started":"2025-04-17T15:24:00Z"}},` +
	`"profiles":{"since":"2025-04-17T15:24:00Z"}},` +
	`"import_from":"2025-04-10T00:00:00Z","index":"7f3a","beginning":"2025-04-10T00:00:00Z","commits":12,"reset":"2025-04-10T00:00:00Z",` +
	`"works":[{"id":"work_1","run":77,"opened":"2025-04-17T15:24:00Z","open":false,"from":{}},` +
	`{"id":"work_2","run":4294967295,"opened":"2025-04-17T15:24:00Z","open":true,"from":{"last_run":"2025-04-10T00:00:00Z",` +
	`"datasets":{"iocs":{"since":"2025-04-10T00:00:00Z","pass":{"started":"2025-04-17T15:24:00Z","after":"5"}}},"import_from":"2025-04-10T00:00:00Z"}}],` +
	`"doubted":[3,4],"version":1,"another":{"a":[1,1E400]},"z\u0001\"":null}`

func TestAStateIsWrittenForPeopleAndReadAgain(t *testing.T) {
	from := "1200"
	d := document{
		place: place{
			lastRun: passStart, importFrom: importStart,
			datasets: map[string]pipeline.Cursor{
				"profiles": done(),
				"alerts":   {Since: importStart, Pass: &pipeline.Pass{Started: passStart, After: "1234", KeptFrom: &from}, Failed: []string{"17", "23"}},
				"iocs":     within(""),
			},
		},
		index: "7f3a", beginning: importStart, commits: 12, reset: importStart,
		works: []noted{
			{Work{ID: "work_1", Run: 77, Opened: passStart}, place{}.clone()},
			{Work{ID: "work_2", Run: 4294967295, Opened: passStart, Open: true}, place{
				lastRun: importStart, importFrom: importStart, datasets: map[string]pipeline.Cursor{"iocs": within("5")},
			}},
		},
		doubted: []uint32{3, 4},
		others:  map[string]json.RawMessage{"z\x01\"": json.RawMessage("null"), "another": json.RawMessage(`{"a": [1, 1E400]}`)},
	}
	if got := d.text(); got != written {
		t.Errorf("wrote %s\nwant  %s", got, written)
	}
	read, err := parse(written)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(read.datasets, d.datasets) || !read.lastRun.Equal(d.lastRun) || !read.importFrom.Equal(d.importFrom) ||
		read.index != d.index || !reflect.DeepEqual(read.works[1], d.works[1]) || read.text() != written {
		t.Errorf("read %+v", read)
	}
}

func TestLastRunIsNeverAheadOfADataset(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2025, 4, n, 0, 0, 0, 0, time.UTC) }
	passed := func(n int) pipeline.Cursor { return pipeline.Cursor{Since: day(n)} }
	for name, tt := range map[string]struct {
		before   time.Time
		datasets map[string]pipeline.Cursor
		want     time.Time
		settled  bool
	}{
		"each has completed a pass":        {time.Time{}, map[string]pipeline.Cursor{"a": passed(12), "b": passed(11)}, day(11), true},
		"one has no cursor":                {time.Time{}, map[string]pipeline.Cursor{"a": passed(12)}, time.Time{}, false},
		"one is within a pass":             {day(10), map[string]pipeline.Cursor{"a": passed(12), "b": {Since: day(11), Pass: &pipeline.Pass{Started: day(12)}}}, day(10), false},
		"one owes an item":                 {day(10), map[string]pipeline.Cursor{"a": passed(12), "b": {Since: day(12), Failed: []string{"1"}}}, day(10), false},
		"another one does not count":       {day(10), map[string]pipeline.Cursor{"a": passed(12), "b": passed(12), "off": passed(11)}, day(12), true},
		"it never goes back":               {day(13), map[string]pipeline.Cursor{"a": passed(12), "b": passed(11)}, day(13), true},
		"parts of a second are taken away": {day(10), map[string]pipeline.Cursor{"a": {Since: day(12).Add(999 * time.Millisecond)}, "b": passed(13)}, day(12), true},
	} {
		d := document{place: place{lastRun: tt.before, importFrom: day(1), datasets: tt.datasets}}
		d.settleLastRun([]string{"a", "b"})
		if !d.lastRun.Equal(tt.want) || d.importFrom.IsZero() != tt.settled {
			t.Errorf("%s: last run %v, import from %v", name, d.lastRun, d.importFrom)
		}
	}
}

func FuzzState(f *testing.F) {
	for _, text := range []string{
		written, "", "null", "{}", `{"last_run": 1744903440.5}`, `{"last_run": "2025-04-17 15:24:00.5"}`, `{"version": 2}`,
		`{"last_run":"2025-04-17T15:24:00Z","\u0007":1,"\u200b":{"a":"<"}}`, `{"last_run":"9999-12-31T23:59:59-05:00"}`,
		`{"datasets":{"iocs":{"since":"0001-01-01T00:00:01+23:59","pass":{"started":"9999-12-31T23:59:59-23:59"}}},"import_from":"0000-01-01T00:00:00Z"}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parse(text)
		if err != nil {
			if !errors.Is(err, ErrUnreadable) && !errors.Is(err, ErrNewer) {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		for name := range maps.Keys(d.clone().datasets) { // what the keeper does before it writes
			d.goBackToDelivered()
			d.settleLastRun([]string{name})
		}
		if len(d.datasets) == 0 && !d.lastRun.IsZero() {
			d.datasets["iocs"] = pipeline.Cursor{Since: d.lastRun}
		}
		again, err := parse(d.text())
		if err != nil {
			t.Fatalf("what was read as %+v is written as %s: %v", d, d.text(), err)
		}
		if again.text() != d.text() {
			t.Fatalf("%s is written again as %s", d.text(), again.text())
		}
		if fmt.Sprint(again.others) != fmt.Sprint(d.clone().others) && len(again.others) != len(d.others) {
			t.Fatalf("others were lost: %v, %v", d.others, again.others)
		}
	})
}
