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

// TestTheOverlapIsNotJudgedAgain has analysts look through each run: what a run fetches again is nothing for them unless it is new.
func TestTheOverlapIsNotJudgedAgain(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"workbench", "draft"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				data, begun := new(threatmatchtest.Folder), time.Now()
				seen := putDated(t, data, 1, begun.Add(-2*time.Minute))
				b, _ := slowBubble(t, dir, data, "CONNECTOR_VALIDATE_BEFORE_IMPORT=true", "CONNECTOR_VALIDATION_MODE="+mode,
					"THREATMATCH_IMPORT_FROM_DATE="+begun.Add(-24*time.Hour).Format(time.RFC3339))
				given := 0
				run := func(what string, wanted ...string) {
					t.Helper()
					must(t, b.run(t.Context()))
					var ids []string
					if mode == "draft" {
						ids = b.importAll(t)
					} else {
						for _, file := range b.platform.Workbenches()[given:] {
							for _, d := range readBundle(t, file.Text) {
								ids = append(ids, d.ID)
							}
						}
						ids = withoutCommon(ids)
					}
					slices.Sort(ids)
					slices.Sort(wanted)
					lots := len(b.platform.Workbenches()) + len(b.platform.Drafts()) - given
					if !slices.Equal(ids, wanted) || lots != min(1, len(wanted)) || len(b.platform.Works()) != given+lots {
						t.Errorf("%s: %v in %d lots", what, ids, lots)
					}
					given += lots
					time.Sleep(time.Minute)
				}
				run("the first", seen...)
				run("one without news", []string{}...)
				late := putDated(t, data, 2, begun.Add(-time.Minute))
				run("one with something late", late...)
				run("another without news", []string{}...)
				must(t, data.Put("profiles", 1, begun, fmt.Appendf(nil, `[{"type":"tool","id":%q,"name":"tool 1","modified":%q},{"type":"tool","id":"tool--00000000-0000-4000-8000-000000000009","name":"new"}]`,
					seen[0], begun.Add(-2*time.Minute).UTC().Format("2006-01-02T15:04:05.000Z"))))
				run("one with a profile that has grown", seen[0], "tool--00000000-0000-4000-8000-000000000009")
			})
		})
	}
}

// withoutCommon leaves out markings and authors.
func withoutCommon(ids []string) []string {
	return slices.DeleteFunc(ids, func(id string) bool {
		return strings.HasPrefix(id, "marking-definition--") || strings.HasPrefix(id, "identity--")
	})
}

// importAll lets the workers import what is in the queue and returns the ids that are no marking's or author's.
func (b *bubble) importAll(t *testing.T) (ids []string) {
	for _, m := range b.broker.Take(bubbleQueue, 1<<30) {
		d, err := readDelivery(m.Body)
		must(t, err)
		if outcome := b.platform.Import(m.Body); outcome != openctitest.Imported {
			t.Errorf("%s: %s", d.ID, outcome)
		}
		ids = append(ids, d.ID)
	}
	return withoutCommon(ids)
}

func containsAll(list, wanted []string) bool {
	return !slices.ContainsFunc(wanted, func(s string) bool { return !slices.Contains(list, s) })
}
