package connector

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/remotes"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status"
	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/emit/files"
	"github.com/opencti-connectors/threatmatch/emit/followup"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state"
	"github.com/opencti-connectors/threatmatch/transform"
	"github.com/opencti-connectors/threatmatch/transform/relations"
)

// Options is what a caller of [Run] adds to the configuration.
type Options struct {
	Version  string   // of the program, for ThreatMatch and the metrics
	Progress Progress // nil for nobody
	// Notices are written whatever the level; nil for the log.
	Notices  *zap.Logger
	Carriers Carriers
	// TakesNoOrders keeps it from listening on a socket in its folder.
	TakesNoOrders bool
}

// Carriers carry what the connector says to its three remotes, in place of the network. Nil ones stand for the network.
type Carriers struct {
	API, Platform http.RoundTripper
	Broker        func(ctx context.Context, network, address string) (net.Conn, error)
}

// program is the running program: what it talks to, and what it shows of itself.
type program struct {
	cfg         config.Config
	log         *zap.Logger
	notices     *zap.Logger     // of what is wrong and does not stop it, written whatever the level
	plain       *zap.Logger     // the same, for lines that are told now and then and are never about the same
	repeats     *status.Repeats // of what is said in a run
	options     Options
	keys        *remotes.Keyring
	status      *status.Status
	progress    Progress
	api         *threatmatch.Client
	platform    *opencti.Client
	transformer *transform.Transformer
	memory      memory
	keeper      *state.Keeper
	refusal     emit.Refusal // of the runs so far
	follower    *followup.Follower
	imported    *followup.Share
	tale        importTale
	past        past
	taken       *relations.Table // which relations the platform said last that it takes; nil before
	unseen      bool             // it was said that OpenCTI does not tell of works
	backfill    *backfill
	fileNames   *files.Names
	alone       bool          // it must not run beside a connector of the same id
	resets      chan struct{} // holds a token when the state went back: a reset, or a backup

	mu         sync.Mutex // guards all below
	registered opencti.Registered
	endRun     context.CancelCauseFunc // ends the run under way; nil between two
}

func newProgram(cfg config.Config, log *zap.Logger, opts Options) (*program, error) {
	if opts.Progress == nil {
		opts.Progress = noProgress{}
	}
	s := status.New(cfg, Datasets(cfg))
	log = s.Remember(log)
	if opts.Notices == nil {
		opts.Notices = log
	} else {
		opts.Notices = s.Remember(opts.Notices)
	}
	repeats := new(status.Repeats)
	p := &program{cfg: cfg, log: repeats.Bound(log), plain: log, notices: opts.Notices, repeats: repeats, options: opts, status: s, progress: watchedProgress{opts.Progress, s}, resets: make(chan struct{}, 1)}
	p.backfill, p.fileNames = newBackfill(p), files.NewNames(cfg.Connector.Name)
	var err error
	if p.transformer, err = NewTransformer(cfg.ThreatMatch); err != nil {
		return nil, fmt.Errorf("set up the mapping: %w", err)
	}
	if err := p.newClients(opts.Carriers); err != nil {
		return nil, err
	}
	// By the client itself: what the runs' calls count shows that a run gets on.
	p.imported = followup.NewShare(p.platform, func() []state.Work { return p.keeper.Works() })
	s.Shares(p.imported.Imports)
	return p, nil
}

// newClients makes the clients of ThreatMatch and OpenCTI.
func (p *program) newClients(by Carriers) (err error) {
	if p.keys, err = remotes.NewKeyring(p.cfg, p.plain); err != nil {
		return err
	}
	if by.API == nil {
		by.API = remotes.ToThreatMatch(p.cfg, p.keys)
	}
	if p.api, err = remotes.ThreatMatch(p.cfg, p.status.WatchTransport(by.API), p.options.Version, p.log, p.plain); err != nil {
		return err
	}
	p.status.WatchRequests(p.api.Requests)
	p.status.WatchAPI(p.api.Figures)
	if by.Platform == nil {
		by.Platform = remotes.ToOpenCTI(p.cfg, p.keys)
	}
	p.platform, err = remotes.OpenCTI(p.cfg, by.Platform, p.plain)
	return err
}

// NewTransformer returns what turns ThreatMatch's items into STIX objects as the configuration says.
func NewTransformer(cfg config.ThreatMatch) (*transform.Transformer, error) {
	descriptions, err := transform.ParseFormat(string(cfg.DescriptionFormat))
	if err != nil {
		return nil, err
	}
	labels, err := transform.ParseLabels(string(cfg.Labels))
	if err != nil {
		return nil, err
	}
	return transform.New(transform.Config{
		TLP:                       string(cfg.TLP),
		ThreatActorAsIntrusionSet: cfg.ThreatActorAsIntrusionSet,
		Descriptions:              descriptions,
		Labels:                    labels,
		Filters: transform.Filters{
			MaxTLP: string(cfg.MaxTLP), Types: cfg.Types, ExcludeTypes: cfg.ExcludeTypes,
			MinConfidence: cfg.MinConfidence, MinScore: cfg.MinScore, Tags: cfg.Tags, ExcludeTags: cfg.ExcludeTags,
		},
		Observables: cfg.CreateObservables,
		Score:       cfg.Score,
	})
}

// currentRegistration is what the platform said last when the connector registered.
func (p *program) currentRegistration() opencti.Registered {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.registered
}

// setEndRun notes what ends the run under way, nil when there is none.
func (p *program) setEndRun(end context.CancelCauseFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endRun = end
}

// endRunWith ends the run under way, if there is one.
func (p *program) endRunWith(why error) {
	p.mu.Lock()
	end := p.endRun
	p.mu.Unlock()
	if end != nil {
		end(why)
	}
}

// onVoid ends the run under way, of which nothing counts any more, and starts the next one without waiting.
func (p *program) onVoid(why error) {
	p.endRunWith(why)
	select {
	case p.resets <- struct{}{}:
	default:
	}
}

// Progress is told how each run gets on. Its methods are called from several goroutines and do not block.
type Progress interface {
	// Begin says that a run begins, of which waitsFor tells at any time what holds it up, and End that it has ended.
	Begin(waitsFor func() string)
	End()
	// Page says that a page with so many items was fetched.
	Page(dataset string, items int, at pipeline.Position)
	// Done says that a dataset came to its end, with the error that ended it.
	Done(dataset string, err error)
	// Sent says that the broker confirmed so many more messages.
	Sent(n int)
}

// noProgress shows nothing.
type noProgress struct{}

// Begin does nothing.
func (noProgress) Begin(func() string) {}

// End does nothing.
func (noProgress) End() {}

// Page does nothing.
func (noProgress) Page(string, int, pipeline.Position) {}

// Done does nothing.
func (noProgress) Done(string, error) {}

// Sent does nothing.
func (noProgress) Sent(int) {}

// watchedProgress tells the status, too, what is fetched.
type watchedProgress struct {
	Progress
	status *status.Status
}

// Page counts and passes on.
func (w watchedProgress) Page(dataset string, items int, at pipeline.Position) {
	w.status.Fetched(dataset, items)
	w.Progress.Page(dataset, items, at)
}

// Done looks at the error and passes on.
func (w watchedProgress) Done(dataset string, err error) {
	if threatmatch.IsUnauthorized(err) {
		w.status.Credentials(status.ThreatMatch, true)
	}
	w.Progress.Done(dataset, err)
}
