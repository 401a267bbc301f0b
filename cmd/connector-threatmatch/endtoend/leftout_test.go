package endtoend

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// TestWhatIsLeftOutIsToldByReason lets objects of two kinds of fault and one that is too large arrive among good ones, over
// two datasets: the work and the log count all of them, and the log names the first twenty of each.
func TestWhatIsLeftOutIsToldByReason(t *testing.T) {
	t.Parallel()
	data := new(threatmatchtest.Folder)
	day := time.Date(2025, 4, 17, 0, 0, 0, 0, time.UTC)
	large := strings.Repeat("x", 4000)
	for i := range 15 {
		for at, dataset := range []string{"profiles", "alerts"} {
			text := fmt.Appendf(nil, `[{"type":"malware","id":%q,"name":"m","is_family":false},{"type":"x-odd","id":"x-odd--1"},{"type":"tool"}]`, malwareID(2*i+at))
			if i < 2 {
				text = fmt.Appendf(nil, `[{"type":"tool","id":"tool--00000000-0000-4000-8000-00000000000%d","name":%q},{"type":"tool"}]`, 2*i+at, large)
			}
			must(t, data.Put(dataset, int64(i+1), day, text))
		}
	}
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}})
	p := w.run(exitOK, "CONNECTOR_MAX_MESSAGE_BYTES=4000", "CONNECTOR_LOG_LEVEL=warn")
	messages := w.take()
	w.checkBooks(messages, false)
	const counted = "30 × no id, 26 × unknown type, 4 × too large for the queue"
	if got, want := w.lastWork().Message, fmt.Sprintf("%d objects sent, 60 left out: %s", len(messages), counted); got != want {
		t.Errorf("the work says %q, want %q", got, want)
	}
	named, summed := map[string]int{}, 0
	for _, line := range p.lines() {
		switch {
		case line.Level != "warning":
			t.Errorf("%s: %s", line.Level, line.Message)
		case line.Message == "left out: "+counted:
			summed++
			if line.Attributes["no_id"] != 30. || line.Attributes["unknown_type"] != 26. || line.Attributes["too_large_for_the_queue"] != 4. {
				t.Errorf("the sum has the figures %v", line.Attributes)
			}
		case strings.HasPrefix(line.Message, "an object is too large"):
			named["too large"]++
		case line.Attributes["reason"] != nil:
			named[line.Attributes["reason"].(string)]++
		}
	}
	if summed != 1 || named["no id"] != 20 || named["unknown type"] != 20 || named["too large"] != 4 {
		t.Errorf("the sum is told %d times, and named are %v", summed, named)
	}
}
