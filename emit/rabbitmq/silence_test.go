package rabbitmq

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// What the owner does while the broker takes 20 s for a login, with messages waiting, and the first confirm after it.
func TestASlowLoginThatWasToldOfIsOverWithTheFirstConfirm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logged := observer.New(zapcore.InfoLevel)
		cfg := Config{Log: zap.New(core)}.withDefaults()
		box := &outbox{cfg: cfg, queued: 1}
		o := newOutage(cfg)
		o.watch()
		time.Sleep(20 * time.Second) // login, within the handshake's 30 s
		o.unwatch()
		if box.contact() {
			o.silence.Heard()
		}
		o.end(cfg.Log, Connection{Host: "mq"}) // a message is confirmed
		time.Sleep(time.Hour)
		for _, e := range logged.All() {
			t.Log(e.Level, e.Message)
		}
		if o.silence.Told() {
			t.Error("RabbitMQ confirms for an hour, and is still said not to answer")
		}
		// the next outage
		n := logged.Len()
		o.watch()
		time.Sleep(9 * time.Minute)
		o.unwatch()
		if logged.Len() == n {
			t.Error("nine minutes without an answer are not told of")
		}
	})
}
