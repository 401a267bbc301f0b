package status

import (
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

func TestLinesAboutTheSameThingAreBoundedInARun(t *testing.T) {
	core, lines := observer.New(zapcore.DebugLevel)
	repeats := new(Repeats)
	plain := zap.New(core)
	log := repeats.Bound(plain)
	for run := range 2 {
		for i := range 1000 {
			log.Warn("an object is held back", zap.Int("object", i))
			log.Named("other").With(zap.Int("run", run)).Info("left out", zap.String("reason", []string{"no id", "no type"}[i%2]))
			log.Debug("retrying")
		}
		log.Error("once")
		repeats.Tell(plain)
		if n := lines.FilterMessage("an object is held back").Len(); n != pipeline.MaxNamed {
			t.Errorf("run %d: %d lines about objects", run, n)
		}
		if n := lines.FilterMessage("left out").Len(); n != 2*pipeline.MaxNamed {
			t.Errorf("run %d: %d lines about what is left out, for two reasons", run, n)
		}
		if n := lines.FilterMessage("retrying").Len(); n != 1000 {
			t.Errorf("run %d: %d lines at debug", run, n)
		}
		told := lines.FilterField(zap.String("like", "an object is held back")).All()
		if len(told) != 1 || told[0].Level != zapcore.WarnLevel || told[0].ContextMap()["lines"] != int64(1000-pipeline.MaxNamed) {
			t.Errorf("run %d: told %v", run, told)
		}
		if n := lines.FilterField(zap.String("like", "once")).Len(); n != 0 {
			t.Errorf("run %d: %d lines about what was said once", run, n)
		}
		lines.TakeAll()
	}
}
