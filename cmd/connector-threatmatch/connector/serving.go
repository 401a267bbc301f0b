package connector

import (
	"context"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status"
)

// tellStop says when ctx ends so where a run is under way, which settles first. The returned function ends it and waits for it.
func (p *program) tellStop(ctx context.Context) (end func()) {
	told := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(told)
		p.status.Stopping()
		p.mu.Lock()
		inRun := p.endRun != nil
		p.mu.Unlock()
		if inRun {
			p.plain.Info("told to stop; the run settles what is under way first")
		}
	})
	return func() {
		if !stop() {
			<-told
		}
	}
}

// serve serves the metrics and the status page, as far as the configuration wants them, until it is told to stop. Metrics that
// cannot be served end the program, for they were asked for; a status page that cannot be served is no reason to import nothing.
func (p *program) serve() (stop func(), err error) {
	var servers []*status.Server
	stop = func() {
		for _, server := range servers {
			if err := server.Close(); err != nil {
				p.plain.Warn("an HTTP server did not close in order", zap.Error(err))
			}
		}
	}
	cfg := p.cfg.Connector
	if cfg.ExposeMetrics {
		server, err := p.status.ServeMetrics(cfg, p.options.Version, p.plain)
		if err != nil {
			return nil, err
		}
		servers = append(servers, server)
	}
	if cfg.StatusAddress != "" {
		server, err := p.status.ServeStatus(cfg.StatusAddress, p.options.Version, p.plain)
		if err != nil {
			p.plain.Error("the status page and health are not served; the connector goes on without", zap.Error(err))
			return stop, nil
		}
		servers = append(servers, server)
	}
	return stop, nil
}
