package connector

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
	"github.com/opencti-connectors/threatmatch/transform"
	"github.com/opencti-connectors/threatmatch/transform/relations"
)

// newFitter returns what makes relations such as OpenCTI takes them.
func (p *program) newFitter(ctx context.Context) (transform.Fitter, error) {
	if p.cfg.Connector.Relations == config.RelationsAsIs {
		return transform.Fitter{}, nil
	}
	descriptions, err := transform.ParseFormat(string(p.cfg.ThreatMatch.DescriptionFormat))
	if err != nil {
		return transform.Fitter{}, err
	}
	table, err := p.relationsTaken(ctx)
	return transform.Fitter{Table: table, Descriptions: descriptions}, err
}

// relationsPatience is how long a run waits at its begin for an OpenCTI that is away, before it fails: what would be sent
// under another type than OpenCTI wants is not sent again.
const relationsPatience = 10 * time.Minute

// relationsTaken asks the platform at the begin of each run, for it may have been upgraded, which relations it takes. Where it
// does not tell, what it said before counts, else the table that the program brings.
func (p *program) relationsTaken(ctx context.Context) (*relations.Table, error) {
	began, backoff := time.Now(), remote.Backoff{Min: 500 * time.Millisecond, Max: 30 * time.Second}
	for failures := 0; ; failures++ {
		answer, err := p.status.WatchPlatform(p.platform).Relations(ctx)
		if err == nil {
			var table *relations.Table
			if table, err = relations.New(answer); err == nil {
				p.taken = table
				return table, nil
			}
		}
		away := opencti.IsTemporary(err)
		switch {
		case away && time.Since(began) < relationsPatience:
			if failures == 0 {
				p.log.Warn("OpenCTI does not tell yet which relations it takes, trying again", zap.Error(err))
			}
			if err := remote.Wait(ctx, backoff.Delay(failures)); err != nil {
				return nil, fmt.Errorf("ask which relations OpenCTI takes: %w", err)
			}
		case ctx.Err() != nil:
			return nil, fmt.Errorf("ask which relations OpenCTI takes: %w", context.Cause(ctx))
		case p.taken != nil:
			p.log.Info("OpenCTI does not tell which relations it takes; going by what it said before", zap.Error(err))
			return p.taken, nil
		case away:
			return nil, fmt.Errorf("ask which relations OpenCTI takes: %w", err)
		default:
			p.log.Info("OpenCTI does not tell which relations it takes; going by what a recent release takes", zap.Error(err))
			return relations.BuiltIn(), nil
		}
	}
}
