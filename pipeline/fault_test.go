package pipeline

import (
	"strings"
	"testing"
	"testing/synctest"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestAPanicOverAnItemCostsThatItem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		breaks := transformer(func(i Item) ([]Object, error) {
			if i.ID == "7.0" {
				panic("nobody has foreseen this")
			}
			return nil, nil
		})
		core, logged := observer.New(zapcore.ErrorLevel)
		checkpoint := &store{}
		report := Run(t.Context(), Config{Log: zap.New(core)}, []Source{pages("alerts", 15, 0)}, breaks, sink{}, checkpoint)
		if err := report.Failure(); err != nil || report.LeftOut[Fault] != 1 || report.LeftOut.Total() != 1 {
			t.Errorf("failure %v, left out %v", err, report.LeftOut)
		}
		if got := checkpoint.last("alerts"); got.Pass != nil {
			t.Errorf("the dataset is at %+v", got)
		}
		if logged.Len() != 1 {
			t.Fatalf("%d lines at error", logged.Len())
		}
		about := logged.All()[0].ContextMap()
		stack, _ := about["stack"].(string)
		if about["item"] != "7.0" || !strings.Contains(stack, "fault_test.go") || !strings.Contains(about["error"].(string), "nobody has foreseen this") {
			t.Errorf("told: %v", about)
		}
	})
}
