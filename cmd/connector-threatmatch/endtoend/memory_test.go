package endtoend

import (
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

func TestAMediumRunStaysSmall(t *testing.T) {
	const most = 150 << 20
	data := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 1, Profiles: 500, Alerts: 500, Indicators: 20_000})
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}, broker: rabbitmqtest.Config{Discard: true}})
	p := w.start("CONNECTOR_LOG_LEVEL=warn")
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	var peak int64
	for running := true; running; {
		select {
		case <-ticker.C:
			peak = max(peak, p.peakMemory())
		case <-p.done:
			running = false
		}
	}
	p.wants(exitOK, time.Second)
	sent := w.broker.Published()
	t.Logf("%d objects in %s, %.0f a second, %.1f MiB at most", sent, p.took.Round(time.Millisecond), float64(sent)/p.took.Seconds(), float64(peak)/(1<<20))
	if peak == 0 || peak > most {
		t.Errorf("%.1f MiB at most", float64(peak)/(1<<20))
	}
	if work := w.lastWork(); work.Expected != sent || work.Closed != 1 || work.InError {
		t.Errorf("%d messages, the work is %+v", sent, work)
	}
}
