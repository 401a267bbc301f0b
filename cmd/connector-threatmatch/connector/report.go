package connector

import (
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// workMessage is what OpenCTI shows of a run that has ended.
func workMessage(report pipeline.Report, a emit.Account, failure error) string {
	text := fmt.Sprintf("%d objects sent", a.Confirmed)
	rejected := 0
	for _, d := range report.Datasets {
		rejected += d.Rejected
	}
	if left := int64(rejected) + a.Refused; left > 0 {
		text += fmt.Sprintf(", %d left out (see the connector's log)", left)
	}
	if failure != nil {
		const longest = 2000 // the platform keeps every message; a thousand failed items would say no more
		reason := failure.Error()
		if len(reason) > longest {
			reason = strings.ToValidUTF8(reason[:longest], "") + "…"
		}
		text += "; failed: " + reason
	}
	return text
}

// logRun tells what became of a run.
func (p *program) logRun(report pipeline.Report, a emit.Account, took time.Duration, failure error) {
	fields := []zap.Field{
		zap.Int64("sent", a.Confirmed), zap.Int64("known", a.Known), zap.Int64("repeated", a.Repeated),
		zap.Int64("cleaned", a.Cleaned), zap.Int64("held_back", a.Held), zap.Int64("cycles_cut", a.Cut),
		zap.Int64("too_large", a.Refused), zap.Int64("fallen_out", a.Evicted),
		zap.Uint64("repaired_since_start", p.transformer.Repaired()), zap.Int64("irregular_answers_since_start", p.api.Irregular()),
		zap.Duration("took", took), zap.Bool("complete", failure == nil),
	}
	for name, d := range report.Datasets {
		fields = append(fields, zap.Int(name, d.Items))
		if d.Rejected > 0 {
			fields = append(fields, zap.Int(name+"_left_out", d.Rejected))
		}
	}
	p.log.Info("the run has ended", fields...)
}
