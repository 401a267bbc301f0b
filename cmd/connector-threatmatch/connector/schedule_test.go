package connector

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
)

func TestRefusedCredentialsAreToldOnceAnHourAndHideNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := fmt.Errorf("import alerts: %w", &threatmatch.Error{Status: 401})
		other := fmt.Errorf("import profiles: %w", &threatmatch.Error{Status: 500})
		var f failures
		for i, step := range []struct {
			err  error
			loud bool
		}{
			{errors.Join(refused, refused), true},
			{errors.Join(refused, errors.Join(refused)), false},
			{refused, false},
			{errors.Join(refused, other), true},
			{errors.Join(errors.Join(other, refused), refused), true},
			{other, true},
			{refused, true}, // an hour after the first
		} {
			if loud := f.level(step.err) == zapcore.ErrorLevel; loud != step.loud {
				t.Errorf("line %d, %v: at error %t", i, step.err, loud)
			}
			time.Sleep(10 * time.Minute)
		}
	})
}
