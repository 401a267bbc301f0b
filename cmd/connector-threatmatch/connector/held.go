package connector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/orders"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/state"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// HeldBackfill tells what is left of a backfill where no connector takes orders, by the state that OpenCTI holds. It asks OpenCTI
// alone, and changes nothing. The error says that OpenCTI cannot be asked, or that the state cannot be read.
func HeldBackfill(ctx context.Context, cfg config.Config, log *zap.Logger, opts Options) (orders.Progress, error) {
	p, err := newProgram(cfg, log, opts)
	if err != nil {
		return orders.Progress{}, err
	}
	defer p.api.CloseIdle()
	defer p.platform.Close()
	found, err := p.lookForOther(ctx)
	if err == nil {
		err = found.unreadable
	}
	if err != nil && !errors.Is(err, opencti.ErrConnectorGone) {
		return orders.Progress{}, fmt.Errorf("ask OpenCTI for a backfill that waits: %w", err)
	}
	return found.backfill(cfg.Connector.RunOnce()), nil
}

// other is what OpenCTI tells of a connector with the same id that may run.
type other struct {
	held       state.Description
	unreadable error // why held says nothing
	lastSeen   time.Time
	elsewhere  bool // it has been heard of lately, and uses another folder
}

// lookForOther asks OpenCTI. Who wrote the state with this folder is gone: it would have taken the order. Nor is anybody known where
// an operator has reset it.
func (p *program) lookForOther(ctx context.Context) (found other, err error) {
	now, err := p.platform.Presence(ctx)
	if err != nil {
		return other{}, err
	}
	held, err := p.platform.ConnectorState(ctx)
	if err != nil {
		return other{}, err
	}
	found.lastSeen = now.LastSeen
	found.held, found.unreadable = state.Describe(held.State)
	own, _, known := index.Counted(p.cfg.Connector.StateDir)
	gone := found.unreadable == nil && known && (found.held.Folder == own || found.held.Nothing)
	found.elsewhere = now.Active && !gone
	return found, nil
}

// backfill is what is left of one, for a configuration with which a connector runs once only or stays.
func (o other) backfill(runsOnce bool) orders.Progress {
	left := o.held.UnderWay
	if len(left.Datasets) == 0 {
		return orders.Progress{Phase: orders.None}
	}
	p := orders.Progress{Phase: orders.Stopped, Earlier: true, From: left.From, To: left.To, Left: left.Datasets}
	for _, place := range o.held.Backfill {
		d := orders.Dataset{Name: place.Name}
		if place.Pass != nil {
			d.After = place.Pass.After
		}
		p.Datasets = append(p.Datasets, d)
	}
	switch {
	case o.elsewhere:
		p.Phase = orders.Elsewhere
		p.WaitsFor = "the connector of which OpenCTI has heard at " + o.lastSeen.UTC().Format(time.RFC3339) + ", or for its next start: it uses another CONNECTOR_STATE_DIR, so ask where it runs, as with docker exec"
	case runsOnce:
		p.WaitsFor = "the same command to be typed again: a connector that runs once only does not go on with it"
	default:
		p.WaitsFor = "the connector to start, or for the same command to be typed again"
	}
	return p
}
