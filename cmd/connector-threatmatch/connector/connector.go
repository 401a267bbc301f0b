// Package connector is the running program: it joins the platform, keeps the schedule, and wires each run together.
package connector

import (
	"context"
	"errors"
	"sync"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
)

// Run runs the connector until ctx ends or, in run-and-terminate mode, until one run has ended. What goes wrong is
// returned and not logged; a connector that stays logs a run that failed and goes on.
func Run(ctx context.Context, cfg config.Config, log *zap.Logger, opts Options) (err error) {
	p, err := newProgram(cfg, log, opts)
	if err != nil {
		return err
	}
	defer p.api.CloseIdle()
	defer p.platform.Close()
	if cfg.Connector.ExposeMetrics {
		server, err := p.status.Serve(cfg.Connector, opts.Version, log)
		if err != nil {
			return err
		}
		defer func() {
			if err := server.Close(); err != nil {
				log.Warn("the server of the metrics did not close in order", zap.Error(err))
			}
		}()
	}
	if err := p.join(ctx); err != nil {
		if ctx.Err() != nil && !cfg.Connector.RunOnce() {
			return nil // told to stop before there was anything to do
		}
		return err
	}
	defer func() { err = errors.Join(err, p.memory.Close()) }()

	beating, stopBeating := context.WithCancel(context.WithoutCancel(ctx))
	var background sync.WaitGroup
	background.Go(func() { p.keeper.Heartbeat(beating) })
	defer background.Wait()
	defer stopBeating()
	defer p.status.Ending()
	return p.keepSchedule(ctx)
}
