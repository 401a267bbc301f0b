// Package connector is the running program: it joins the platform, keeps the schedule, and wires each run together.
package connector

import (
	"context"
	"fmt"
	"sync"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
	"github.com/opencti-connectors/threatmatch/state"
	"github.com/opencti-connectors/threatmatch/transform"
)

// Options is what a caller of [Run] adds to the configuration.
type Options struct {
	Version  string   // of the program, for ThreatMatch and the metrics
	Progress Progress // nil for nobody
	Carriers Carriers
}

// connector is the running program: what it talks to, and what it shows of itself.
type connector struct {
	cfg         config.Config
	log         *zap.Logger
	options     Options
	status      *status.Status
	progress    Progress
	api         *threatmatch.Client
	platform    *opencti.Client
	transformer *transform.Transformer
	memory      memory
	keeper      *state.Keeper
	resets      chan struct{} // holds a token when the operator has reset the connector

	mu         sync.Mutex // guards all below
	registered opencti.Registered
	endRun     context.CancelCauseFunc // ends the run under way; nil between two
}

func newConnector(cfg config.Config, log *zap.Logger, opts Options) (*connector, error) {
	if opts.Progress == nil {
		opts.Progress = noProgress{}
	}
	s := status.New(cfg, Datasets(cfg))
	c := &connector{cfg: cfg, log: log, options: opts, status: s, progress: watchedProgress{opts.Progress, s}, resets: make(chan struct{}, 1)}
	var err error
	if c.api, err = newAPIClient(cfg, opts.Carriers.API, s, opts.Version, log); err != nil {
		return nil, err
	}
	s.WatchRequests(c.api.Requests)
	if c.platform, err = newPlatformClient(cfg, opts.Carriers.Platform); err != nil {
		return nil, err
	}
	if c.transformer, err = newTransformer(cfg.ThreatMatch); err != nil {
		return nil, fmt.Errorf("set up the mapping: %w", err)
	}
	return c, nil
}

func newTransformer(cfg config.ThreatMatch) (*transform.Transformer, error) {
	descriptions, err := transform.ParseFormat(string(cfg.DescriptionFormat))
	if err != nil {
		return nil, err
	}
	return transform.New(transform.Config{
		TLP:                       string(cfg.TLP),
		ThreatActorAsIntrusionSet: cfg.ThreatActorAsIntrusionSet,
		Descriptions:              descriptions,
	})
}

// currentRegistration is what the platform said last when the connector registered.
func (c *connector) currentRegistration() opencti.Registered {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.registered
}

// setEndRun notes what ends the run under way, nil when there is none.
func (c *connector) setEndRun(end context.CancelCauseFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endRun = end
}

// onReset ends the run under way and starts the next one without waiting.
func (c *connector) onReset() {
	c.mu.Lock()
	end := c.endRun
	c.mu.Unlock()
	if end != nil {
		end(state.ErrReset)
	}
	select {
	case c.resets <- struct{}{}:
	default:
	}
}
