package connector

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

func TestARunThatWasToldToStopHasNotFailed(t *testing.T) {
	p, _ := stubbed(t)
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	cancelled, broken := fmt.Errorf("read alerts: %w", context.Canceled), errors.New("ThreatMatch is away")
	fit := func(text string) string { return text }
	for name, tt := range map[string]struct {
		ctx     context.Context
		failure error
		outcome string
		failed  bool
		dataset string // what is said of its failure
	}{
		"told to stop": {stopped, cancelled, "told to stop", false, ""},
		"failed":       {t.Context(), broken, "incomplete: ThreatMatch is away", true, "ThreatMatch is away"},
		"complete":     {t.Context(), nil, "complete", false, ""},
	} {
		s := quiet(7)
		s.datasets = []*chapter{{dataset: "alerts"}}
		s.Done("alerts", tt.failure)
		outcome := p.outcome(tt.ctx, tt.failure, false)
		run := s.ended(pipeline.Report{}, outcome, tt.failure, fit)
		if run.Outcome != tt.outcome || run.Failed != tt.failed || run.Datasets[0].Failure != tt.dataset || run.Ended.IsZero() || run.Sent != 7 {
			t.Errorf("%s: %+v", name, run)
		}
		if tt.failure == nil {
			continue
		}
		if early := notBegun(imports, time.Now(), outcome, tt.failure, fit); early.Outcome != tt.outcome || early.Failed != tt.failed || early.Purpose != "import" {
			t.Errorf("%s before it began: %+v", name, early)
		}
	}
}

func TestADatasetThatIsToldToStopHasNotFailed(t *testing.T) {
	for want, err := range map[string]error{
		"iocs stopped after 16,075": fmt.Errorf("read indicators: %w", context.Canceled),
		"iocs failed after 16,075":  errors.New("read indicators: HTTP 500"),
		"iocs 16,075 done":          nil,
	} {
		if got := (&chapter{dataset: "iocs", items: 16_075, done: true, err: err}).String(); got != want {
			t.Errorf("%v is told as %q, not %q", err, got, want)
		}
	}
}
