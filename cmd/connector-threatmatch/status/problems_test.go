package status

import (
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// TestProblemsAreRememberedWhateverTheLevel has a core around the logger, as the program has, that hands on what one of them takes.
func TestProblemsAreRememberedWhateverTheLevel(t *testing.T) {
	for level, written := range map[zapcore.Level]int{zapcore.ErrorLevel: 1, zapcore.WarnLevel: 2, zapcore.DebugLevel: 3} {
		s := New(load(t, nil), nil)
		core, lines := observer.New(level)
		log := s.Remember(zap.New(core)).WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core {
			return boundedCore{Core: c, secrets: s.problems.secrets}
		})).With(zap.String("dataset", "iocs"))
		log.Info("reached OpenCTI")
		log.Warn("left out", zap.String("item", "17"))
		log.Error("failed")
		if lines.Len() != written {
			t.Errorf("at %s the log has %d lines, want %d", level, lines.Len(), written)
		}
		got := s.problems.newestFirst()
		if len(got) != 2 || !got[0].Error || got[1].Error || got[1].Item != "17" || got[1].Dataset != "iocs" {
			t.Errorf("at %s: %+v", level, got)
		}
	}
}
