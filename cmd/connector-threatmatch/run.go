package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
	"github.com/opencti-connectors/threatmatch/state"
	"github.com/opencti-connectors/threatmatch/state/index"
	"github.com/opencti-connectors/threatmatch/transform"
)

// runOptions is what a caller of [runConnector] may add to the configuration.
type runOptions struct {
	Progress progress
	// Carriers replace the network; zero ones stand for the real one.
	Carriers carriers
}

// runConnector runs the connector until ctx ends or, in run-and-terminate mode, until one run has ended.
func runConnector(ctx context.Context, cfg Config, log *zap.Logger, opts runOptions) (err error) {
	c, err := newConnector(cfg, log, opts)
	if err != nil {
		return err
	}
	defer c.api.CloseIdle()
	defer c.platform.Close()
	if cfg.Connector.ExposeMetrics {
		server, err := c.serveStatus()
		if err != nil {
			return err
		}
		defer func() {
			if err := server.close(); err != nil {
				log.Warn("the server of the metrics did not close in order", zap.Error(err))
			}
		}()
	}
	if err := c.join(ctx); err != nil {
		if ctx.Err() != nil && !cfg.Connector.RunOnce() {
			return nil // told to stop before there was anything to do
		}
		return err
	}
	defer func() { err = errors.Join(err, c.index.Close()) }()

	beating, stopBeating := context.WithCancel(context.WithoutCancel(ctx))
	var background sync.WaitGroup
	background.Go(func() { c.keeper.Heartbeat(beating) })
	defer background.Wait()
	defer stopBeating()
	defer c.status.ending()
	return c.live(ctx)
}

// connector is the running program: what it talks to, and what it shows of itself.
type connector struct {
	cfg         Config
	log         *zap.Logger
	progress    progress
	status      *status
	carriers    carriers
	api         *threatmatch.Client
	platform    *opencti.Client
	transformer *transform.Transformer
	index       *index.Index
	durable     bool // the index outlives the process
	waitingLost bool // it has lost objects that waited
	keeper      *state.Keeper
	resets      chan struct{} // holds a token when the operator has reset the connector

	mu         sync.Mutex // guards all below
	registered opencti.Registered
	info       opencti.Info
	endRun     context.CancelCauseFunc // ends the run under way; nil between two
}

func newConnector(cfg Config, log *zap.Logger, opts runOptions) (*connector, error) {
	if opts.Progress == nil {
		opts.Progress = noProgress{}
	}
	s := newStatus(cfg)
	c := &connector{cfg: cfg, log: log, progress: watchedProgress{opts.Progress, s}, status: s, carriers: opts.Carriers, resets: make(chan struct{}, 1)}
	c.info = opencti.Info{RunAndTerminate: cfg.Connector.RunOnce(), QueueThreshold: cfg.Connector.QueueThreshold}
	var err error
	if c.api, err = newAPIClient(cfg, opts.Carriers.api, s, log); err != nil {
		return nil, err
	}
	s.api = c.api
	if c.platform, err = newPlatformClient(cfg, opts.Carriers.platform); err != nil {
		return nil, err
	}
	descriptions, err := transform.ParseFormat(string(cfg.ThreatMatch.DescriptionFormat))
	if err != nil {
		return nil, fmt.Errorf("set up the mapping: %w", err)
	}
	c.transformer, err = transform.New(transform.Config{
		TLP:                       string(cfg.ThreatMatch.TLP),
		ThreatActorAsIntrusionSet: cfg.ThreatMatch.ThreatActorAsIntrusionSet,
		Descriptions:              descriptions,
	})
	if err != nil {
		return nil, fmt.Errorf("set up the mapping: %w", err)
	}
	return c, nil
}

// datasets names what is imported, in the order in which it is shown.
func (cfg Config) datasets() []string {
	var names []string
	for _, d := range []struct {
		name string
		on   bool
	}{
		{profilesDataset, cfg.ThreatMatch.Profiles}, {alertsDataset, cfg.ThreatMatch.Alerts},
		{reportsDataset, cfg.ThreatMatch.Reports}, {indicatorsDataset, cfg.ThreatMatch.IOCs},
	} {
		if d.on {
			names = append(names, d.name)
		}
	}
	return names
}

// identity says what the index of delivered objects is good for: what changes the objects makes it another one.
func (cfg Config) identity() index.Identity {
	t := cfg.ThreatMatch
	return index.Identity{
		Connector: cfg.Connector.ID,
		Platform:  cfg.OpenCTI.URL,
		Mapping: fmt.Sprintf("tlp=%s descriptions=%s threat-actor-as-intrusion-set=%t mapping=%d",
			t.TLP, t.DescriptionFormat, t.ThreatActorAsIntrusionSet, transform.MappingVersion),
	}
}

// live runs the schedule: a run at the start, then one period after the end of each, and one after every reset.
func (c *connector) live(ctx context.Context) error {
	for {
		err := c.importOnce(ctx)
		if c.cfg.Connector.RunOnce() {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			c.log.Error("the run failed; the next one goes on from where it got", zap.Error(err))
		}
		next := c.cfg.Connector.Period.After(time.Now())
		c.setInfo(func(i *opencti.Info) { i.NextRun = next })
		c.keeper.Ping()
		if !c.sleepUntil(ctx, next) {
			return nil
		}
	}
}

// sleepUntil waits for the next run and reports false when ctx ended before.
func (c *connector) sleepUntil(ctx context.Context, next time.Time) bool {
	timer := time.NewTimer(time.Until(next))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.resets:
	case <-ctx.Done():
		return false
	}
	return true
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

func (c *connector) setInfo(change func(*opencti.Info)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.info)
}

func (c *connector) currentInfo() opencti.Info {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.info
}
