package connector

import (
	"context"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/transform"
	"github.com/opencti-connectors/threatmatch/transform/relations"
)

// newFitter returns what makes relations such as OpenCTI takes them. The platform is asked at the begin of each run, for
// it may have been upgraded; where it does not tell, the table that the program brings has to do.
func (p *program) newFitter(ctx context.Context) (transform.Fitter, error) {
	if p.cfg.Connector.Relations == config.RelationsAsIs {
		return transform.Fitter{}, nil
	}
	descriptions, err := transform.ParseFormat(string(p.cfg.ThreatMatch.DescriptionFormat))
	if err != nil {
		return transform.Fitter{}, err
	}
	answer, err := p.platform.Relations(ctx)
	var table *relations.Table
	if err == nil {
		table, err = relations.New(answer)
	}
	if err != nil {
		p.log.Info("OpenCTI does not tell which relations it takes; going by what a recent release takes", zap.Error(err))
		table = relations.BuiltIn()
	}
	return transform.Fitter{Table: table, Descriptions: descriptions}, nil
}
