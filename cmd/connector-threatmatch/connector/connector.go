// Package connector is the running program: it joins the platform, keeps the schedule, and wires each run together.
package connector

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/orders"
)

// Run runs the connector until ctx ends or, in run-and-terminate mode, until one run has ended. What goes wrong is
// returned and not logged; a connector that stays logs a run that failed and goes on.
func Run(ctx context.Context, cfg config.Config, log *zap.Logger, opts Options) error {
	p, err := newProgram(cfg, log, opts)
	if err != nil {
		return err
	}
	return p.live(ctx, !cfg.Connector.RunOnce(), p.keepSchedule)
}

// Backfill does an ordered backfill, or goes on with it, where no connector runs that could, and shows it once the order is taken and
// every second from then on. It returns what has become of it, and why it failed.
func Backfill(ctx context.Context, cfg config.Config, log *zap.Logger, opts Options, order orders.Backfill, show func(orders.Progress)) (last orders.Progress, err error) {
	p, err := newProgram(cfg, log, opts)
	if err != nil {
		return last, err
	}
	p.alone = true
	err = p.live(ctx, true, func(ctx context.Context) error {
		taken, err := p.backfill.Backfill(ctx, order)
		if err != nil {
			return err
		}
		show(taken)
		quit, quitted := make(chan struct{}), make(chan struct{})
		go func() { defer close(quitted); p.backfill.showUntil(quit, show) }()
		err = p.workOff(ctx)
		close(quit)
		<-quitted
		last = p.backfill.Progress()
		return err
	})
	return last, err
}

// CancelBackfill ends a backfill that waits, where no connector runs that could.
func CancelBackfill(ctx context.Context, cfg config.Config, log *zap.Logger, opts Options) (last orders.Progress, err error) {
	p, err := newProgram(cfg, log, opts)
	if err != nil {
		return last, err
	}
	p.alone = true
	err = p.live(ctx, false, func(ctx context.Context) (err error) {
		last, err = p.backfill.Cancel(ctx)
		return err
	})
	return last, err
}

// workOff does a backfill to its end, or until it is cancelled or fails.
func (p *program) workOff(ctx context.Context) error {
	for len(p.keeper.Backfill().Datasets) > 0 {
		if _, err := p.lookAtWorks(ctx); err != nil {
			return err
		}
		if err := p.backfill.run(ctx, time.Now().Add(aLongTime)); err != nil {
			return err
		}
	}
	if phase := p.backfill.Progress().Phase; phase != orders.Done && phase != orders.Cancelled {
		return errors.New("the backfill was forgotten with the connector's state in OpenCTI; order it again")
	}
	return nil
}

// aLongTime is more than any backfill takes.
const aLongTime = 100 * 365 * 24 * time.Hour

// live joins the platform, does what there is to do, and takes orders meanwhile.
func (p *program) live(ctx context.Context, takesOrders bool, do func(context.Context) error) (err error) {
	cfg, log := p.cfg, p.plain
	defer p.api.CloseIdle()
	defer p.platform.Close()
	defer p.tellStop(ctx)()
	stopServing, err := p.serve()
	if err != nil {
		return err
	}
	defer stopServing()
	if err := p.join(ctx); err != nil {
		if ctx.Err() != nil && !cfg.Connector.RunOnce() {
			return nil // told to stop before there was anything to do
		}
		return err
	}
	defer func() { err = errors.Join(err, p.memory.Close()) }()
	defer p.rememberRate(0)

	beating, stopBeating := context.WithCancel(context.WithoutCancel(ctx))
	var background sync.WaitGroup
	background.Go(func() { p.keeper.Heartbeat(beating) })
	background.Go(func() { p.imported.Follow(beating) })
	defer background.Wait()
	defer stopBeating()
	defer p.status.Ending()
	if takesOrders && p.memory.durable && !p.options.TakesNoOrders {
		server, err := orders.Serve(cfg.Connector.StateDir, p.backfill, log)
		if err != nil {
			log.Warn("the connector takes no orders, such as for a backfill", zap.Error(err))
		} else {
			defer server.Close()
		}
	}
	return do(ctx)
}
