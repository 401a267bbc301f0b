package endtoend

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// TestABrokerThatTakesLessLosesWhatIsTooLargeAlone lets objects arrive of which some are larger than the broker takes, and a report
// that refers to more than fits into one of its messages.
func TestABrokerThatTakesLessLosesWhatIsTooLargeAlone(t *testing.T) {
	t.Parallel()
	const limit, items, large, refs = 20_000, 60, 5, 900
	data := new(threatmatchtest.Folder)
	day := time.Date(2025, 4, 17, 0, 0, 0, 0, time.UTC)
	for i := range items {
		filling := ""
		if i%(items/large) == 0 {
			filling = strings.Repeat("x", limit)
		}
		must(t, data.Put("profiles", int64(i+1), day, fmt.Appendf(nil, `[{"type":"malware","id":%q,"name":"piece %d","description":%q,"is_family":false}]`, malwareID(i), i, filling)))
	}
	var tools, ids []string
	for i := range refs {
		ids = append(ids, fmt.Sprintf("%q", bulkID("tool", "alerts", 1, i)))
		tools = append(tools, fmt.Sprintf(`{"type":"tool","id":%s,"name":"tool %d"}`, ids[i], i))
	}
	report := bulkID("report", "alerts", 1, 0)
	must(t, data.Put("alerts", 1, day, fmt.Appendf(nil, `[%s,{"type":"report","id":%q,"name":"wide","description":"all of it","published":"2025-04-17T00:00:00Z","object_refs":[%s]}]`,
		strings.Join(tools, ","), report, strings.Join(ids, ","))))

	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}, broker: rabbitmqtest.Config{MaxMessageSize: limit}})
	p := w.run(exitOK, "CONNECTOR_LOG_LEVEL=warn")
	for i, m := range w.broker.Take(w.queue(), 1<<30) {
		if outcome := w.platform.Import(m.Body); outcome != openctitest.Imported {
			t.Errorf("message %d was %s", i, outcome)
		}
	}
	missing := 0
	for i := range items {
		if !w.platform.Holds(malwareID(i)) {
			missing++
		}
	}
	work := w.lastWork()
	if missing != large || work.LeftOut() != large || !work.Complete || work.InError || !strings.Contains(work.Message, "5 × too large for the queue") {
		t.Errorf("OpenCTI lacks %d; the work: %+v", missing, work)
	}
	for i := 0; i < items; i += items / large {
		if named := fmt.Sprintf("%s %q", malwareID(i), fmt.Sprint("piece ", i)); !strings.Contains(fmt.Sprint(work.Errors), named) {
			t.Errorf("the work does not name %s: %v", named, work.Errors)
		}
	}
	text, _ := w.platform.Object(report)
	if got := strings.Count(string(text), `"tool--`); got != refs || !strings.Contains(string(text), "all of it") {
		t.Errorf("the report has %d references", got)
	}
	told := 0
	for _, line := range p.lines() {
		if strings.Contains(line.Message, "max_message_size, or set CONNECTOR_MAX_MESSAGE_BYTES") && line.Attributes["takes_bytes"] == float64(limit) {
			told++
		}
	}
	if told != 1 {
		t.Errorf("the log tells the broker's limit %d times", told)
	}
}
