package endtoend

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// putDated adds a profile of one tool and an indicator, both of a moment, and returns their ids.
func putDated(t *testing.T, data *threatmatchtest.Folder, number int, when time.Time) []string {
	t.Helper()
	stamp := when.UTC().Format("2006-01-02T15:04:05.000Z")
	tool, indicator := fmt.Sprintf("tool--00000000-0000-4000-8000-%012x", number), fmt.Sprintf("indicator--00000000-0000-4000-8000-%012x", number)
	must(t, data.Put("profiles", int64(number), when, fmt.Appendf(nil, `[{"type":"tool","id":%q,"name":"tool %d","modified":%q}]`, tool, number, stamp)))
	must(t, data.PutIndicator(fmt.Appendf(nil, `{"type":"indicator","id":%q,"name":"indicator %d","pattern":"[domain-name:value='a%d.example']","pattern_type":"stix","valid_from":%q,"modified":%q}`,
		indicator, number, number, stamp, stamp)))
	return []string{tool, indicator}
}

// TestWhatBecomesVisibleLateArrives lets ThreatMatch show things some minutes after a run that their date lies before.
func TestWhatBecomesVisibleLateArrives(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		overlap string
		age     time.Duration // before the first run, of what it does not see yet
		arrives bool
	}{
		"by the default":            {"", 5 * time.Minute, true},
		"as late as the overlap":    {"PT1H", 55 * time.Minute, true},
		"later than the overlap":    {"PT1H", 65 * time.Minute, false},
		"without an overlap":        {"PT0S", 5 * time.Minute, false},
		"before the import's start": {"P2D", 25 * time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				data, begun := new(threatmatchtest.Folder), time.Now()
				seen := putDated(t, data, 1, begun.Add(-2*time.Hour))
				settings := []string{"THREATMATCH_IMPORT_FROM_DATE=" + begun.Add(-24*time.Hour).Format(time.RFC3339)}
				if tt.overlap != "" {
					settings = append(settings, "THREATMATCH_OVERLAP="+tt.overlap)
				}
				b, _ := slowBubble(t, dir, data, settings...)
				must(t, b.run(t.Context()))
				if ids := b.importAll(t); !containsAll(ids, seen) {
					t.Fatalf("the first run brings %v", ids)
				}
				late := putDated(t, data, 2, begun.Add(-tt.age))
				time.Sleep(time.Hour)
				again := time.Now()
				must(t, b.run(t.Context()))
				ids := b.importAll(t)
				if containsAll(ids, late) != tt.arrives || slices.ContainsFunc(ids, func(id string) bool { return slices.Contains(seen, id) }) {
					t.Errorf("the second run brings %v", ids)
				}
				works := len(b.platform.Works())
				time.Sleep(time.Minute)
				must(t, b.run(t.Context()))
				if ids := b.importAll(t); len(ids) > 0 || len(b.platform.Works()) > works {
					t.Errorf("the third run opens %d works and brings %v", len(b.platform.Works())-works, ids)
				}
				if last := parseState(t, b.platform.State()).LastRun; last.Before(again) || last.After(time.Now()) {
					t.Errorf("the state says that everything up to %s is delivered, the third run was at %s", last, again)
				}
			})
		})
	}
}

// importAll lets the workers import what is in the queue and returns the ids that are no marking's or author's.
func (b *bubble) importAll(t *testing.T) (ids []string) {
	for _, m := range b.broker.Take(bubbleQueue, 1<<30) {
		d, err := readDelivery(m.Body)
		must(t, err)
		if outcome := b.platform.Import(m.Body); outcome != openctitest.Imported {
			t.Errorf("%s: %s", d.ID, outcome)
		}
		if !strings.HasPrefix(d.ID, "marking-definition--") && !strings.HasPrefix(d.ID, "identity--") {
			ids = append(ids, d.ID)
		}
	}
	return ids
}

func containsAll(list, wanted []string) bool {
	return !slices.ContainsFunc(wanted, func(s string) bool { return !slices.Contains(list, s) })
}
