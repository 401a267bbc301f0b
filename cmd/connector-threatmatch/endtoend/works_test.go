package endtoend

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

func TestAResetWhileTheConnectorIsIdleIsNoError(t *testing.T) {
	for name, cfg := range map[string]openctitest.Config{"timed": {}, "untimed": {NoStateTimestamp: true}} {
		t.Run(name, func(t *testing.T) {
			data, dir := plainIndicators(t, 50), t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t, dir, threatmatchtest.Config{Data: data}, rabbitmqtest.Config{}, cfg, "CONNECTOR_RUN_AND_TERMINATE=false")
				core, logs := observer.New(zapcore.InfoLevel)
				b.log = zap.New(core)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				ended := b.begin(ctx)
				for i := range 6 {
					time.Sleep(time.Hour + time.Duration(i)*7*time.Second)
					must(t, b.platform.Reset())
				}
				time.Sleep(time.Hour)
				cancel()
				<-ended
				for _, l := range logs.All() {
					t.Log(l.Time.Format("15:04:05.000"), l.Level, l.Message, l.ContextMap())
				}
			})
		})
	}
}
