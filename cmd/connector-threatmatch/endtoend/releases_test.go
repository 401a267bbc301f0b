package endtoend

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// importAll has OpenCTI's workers import all that is in the queue.
func (w *world) importAll() (messages []delivery) {
	w.t.Helper()
	for _, m := range w.broker.Take(w.queue(), 1<<30) {
		d, err := readDelivery(m.Body)
		must(w.t, err)
		messages = append(messages, d)
		if outcome := w.platform.Import(m.Body); outcome != openctitest.Imported {
			w.t.Errorf("%s is %s", d.ID, outcome)
		}
	}
	return messages
}

func TestEachReleaseOfOpenCTIIsServed(t *testing.T) {
	t.Parallel()
	data := someData()
	for version, lost := range map[string][]string{
		"5.5.4":      {"connector_queue_details", "schemaRelationsTypesMapping"},
		"5.12.29":    {"connector_queue_details"},
		"6.0.10":     {"connector_queue_details"},
		"6.1.0":      {"connector_queue_details"},
		"6.8.17":     nil,
		"7.260817.0": nil,
	} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}, platform: openctitest.Config{Version: version}})
			p := w.start("CONNECTOR_RUN_AND_TERMINATE=false", "CONNECTOR_DURATION_PERIOD=PT1S")
			run := func(number int) {
				t.Helper()
				works := 0
				eventually(t, "the run has ended", func() bool {
					all := w.platform.Works()
					works = len(all)
					return works == number && all[number-1].Closed > 0 && !parseState(t, w.platform.State()).LastRun.IsZero()
				})
				messages := w.importAll()
				checkOrder(t, messages)
				checkHeld(t, messages, held(t, data, defaultMapping))
				work := w.lastWork()
				if work.Expected != len(messages) || work.Closed != 1 || work.InError || !work.Complete || len(work.Errors) > 0 {
					t.Errorf("%d messages, the work is %+v", len(messages), work)
				}
				if work.MultiPart != (version == "7.260817.0") {
					t.Errorf("a work of many parts: %t", work.MultiPart)
				}
			}
			run(1)
			before := len(p.runs())
			eventually(t, "it has run again", func() bool { return len(p.runs()) >= before+2 })
			if n := w.depth(); n > 0 || len(w.platform.Works()) != 1 {
				t.Errorf("a second run sent %d messages", n)
			}
			// A ping under way covers a reset, and a release that does not date states leaves no trace of it: a person would
			// reset once more.
			eventually(t, "the reset is adopted", func() bool {
				if len(w.platform.Works()) == 1 && strings.Contains(w.platform.State(), `"datasets"`) {
					must(t, w.platform.Reset())
				}
				return len(w.platform.Works()) == 2
			})
			run(2)
			p.end()
			var warned []string
			for _, line := range p.lines() {
				switch {
				case strings.HasPrefix(line.Message, "this release of OpenCTI lacks something"):
					warned = append(warned, fmt.Sprint(line.Attributes["member"]))
				case strings.HasPrefix(line.Message, "the connector was reset in OpenCTI"):
				case line.Level != "info" && line.Level != "debug":
					t.Errorf("it says %+v", line)
				}
			}
			slices.Sort(warned)
			if !slices.Equal(warned, lost) {
				t.Errorf("it warned that %v are lacking", warned)
			}
		})
	}
}

func TestAReleaseWithoutWhatIsNeededIsNamed(t *testing.T) {
	t.Parallel()
	for member, says := range map[string]string{
		"Connector.connector_state": "does not know connector_state, and it cannot keep its state there",
		"Mutation.workAdd":          "does not know workAdd, and its runs need a work",
	} {
		w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: someData()}, platform: openctitest.Config{Without: []string{member}}})
		if p := w.run(exitRunFailed); !p.logs(says) {
			t.Errorf("%s: it says %s", member, p.tail())
		}
	}
}
