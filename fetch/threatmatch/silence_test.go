package threatmatch

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// The API answers at once, always; it is our own room that is full while RabbitMQ takes nothing for 90 seconds.
func TestRoomThatIsFullIsNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, lines := observer.New(zapcore.ErrorLevel)
		c := newClient(t, newAPI(always(200, `{"objects":[]}`)), func(cfg *Config) { cfg.Log = zap.New(core) })
		full := func(int64) error { return ErrNoRoom }
		if _, err := c.Item(context.Background(), "alerts", "1"); err != nil {
			t.Fatal(err)
		}
		_, err := c.ItemWithin(t.Context(), "alerts", "2", full) // the last answer before all workers wait for their turn
		t.Log(err)
		time.Sleep(90 * time.Second)
		_, err = c.ItemWithin(t.Context(), "alerts", "3", full) // the first one after it
		t.Log(err)
		_, err = c.ItemWithin(t.Context(), "alerts", "3", nil)
		t.Log(err)
		for _, l := range lines.All() {
			t.Errorf("told: %s %v", l.Message, l.ContextMap())
		}
	})
}
