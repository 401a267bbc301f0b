package sandbox

import (
	"context"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
)

// importEvery is how often the simulated workers take messages.
const importEvery = 100 * time.Millisecond

// importMessages is OpenCTI's workers until ctx ends: so many messages a second of every connector's queue together.
func (t *twins) importMessages(ctx context.Context, perSecond float64) {
	ticker := time.NewTicker(importEvery)
	defer ticker.Stop()
	last, owed := time.Now(), 0.
	for {
		select {
		case now := <-ticker.C:
			owed = min(owed+now.Sub(last).Seconds()*perSecond, max(1, perSecond)) // what they did not find they do not make up for
			last = now
			owed -= float64(t.importSome(int(owed)))
		case <-ctx.Done():
			return
		}
	}
}

// importSome imports up to n messages and returns how many there were.
func (t *twins) importSome(n int) (done int) {
	for _, registered := range t.platform.Registrations() {
		for _, m := range t.broker.Take(queueOf(registered), n-done) {
			t.platform.Import(m.Body)
			done++
		}
	}
	return done
}

// queueOf is the queue from which OpenCTI's workers take what a connector has sent.
func queueOf(r openctitest.Registration) string { return "push_" + r.ID }
