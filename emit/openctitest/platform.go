// Package openctitest simulates the OpenCTI platform as a connector meets it: its GraphQL endpoint, the exchanges and
// queues that it declares on a broker, the workers that import what is in them, and what an operator does meanwhile.
//
// A [Platform] is an http.Handler. It parses and validates every operation against a schema, answers as the platform
// does, and keeps what it was told for whoever wants to look at it. Messages are imported one by one, when they are handed
// over, see [Platform.Import]. Faults are set by rule, see [Platform.Fault] and [Platform.FailImports].
package openctitest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/vektah/gqlparser/v2/ast"
)

// Platform is a simulated OpenCTI. It is safe for concurrent use. Methods that do not name a connector mean the one that
// registered last.
type Platform struct {
	cfg    Config
	schema *ast.Schema
	queues *queues
	faults

	mu            sync.Mutex
	revoked       bool
	current       string
	connectors    map[string]*connector
	seedState     *string
	registrations []Registration
	pings         []Ping
	stale         int
	lag           time.Duration // by which what is shown of connectors is behind
	pingsLag      bool          // and what answers pings
	works         []*work
	workbenches   []Workbench
	drafts        []Draft
	lastWorkTime  time.Time
	held          map[string]*held // by each of their ids
	queue         *queueSize       // in place of what the broker says
	calls         map[string]int
	onPing        func(Ping)
	onQueued      func(body []byte)
	onOperation   func(string)
}

// New returns a platform that knows no connector yet. It fails when Without names what no release has, or Version is none or
// before 5.5.
func New(cfg Config) (*Platform, error) {
	if cfg.UserID == "" {
		cfg.UserID = "3b6f2a5e-4d0c-4c57-9d0b-2f1f3f6f6b11"
	}
	if cfg.Version == "" {
		cfg.Version, cfg.later = newest, true
	}
	if err := checkVersion(cfg.Version); err != nil {
		return nil, err
	}
	schema, err := loadSchema(cfg)
	if err != nil {
		return nil, fmt.Errorf("load schema: %w", err)
	}
	return &Platform{
		cfg:        cfg,
		schema:     schema,
		queues:     &queues{broker: cfg.Broker, kind: cfg.QueueType},
		connectors: map[string]*connector{},
		held:       map[string]*held{},
		calls:      map[string]int{},
	}, nil
}

// OnPing has f called for each ping before anything of it is stored.
func (p *Platform) OnPing(f func(Ping)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onPing = f
}

// OnQueued has f called for each message that a bundle which was pushed has become, once the broker has it.
func (p *Platform) OnQueued(f func(body []byte)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onQueued = f
}

// OnOperation has f called for each valid operation before it is carried out. The name is that of the root field, or
// for workEdit that of the field below it.
func (p *Platform) OnOperation(f func(operation string)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onOperation = f
}

// Calls counts the valid operations of a name as given to OnOperation, failed and refused ones included.
func (p *Platform) Calls(operation string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls[operation]
}

// Registrations returns what connectors registered with, in order.
func (p *Platform) Registrations() []Registration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.registrations)
}

// Pings returns the pings so far, in order.
func (p *Platform) Pings() []Ping {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.pings)
}

// States returns the states that were stored, in order; an unchanged one counts once.
func (p *Platform) States() []string {
	var states []string
	for _, ping := range p.Pings() {
		if ping.Stored && (len(states) == 0 || states[len(states)-1] != ping.State) {
			states = append(states, ping.State)
		}
	}
	return states
}

// State returns the state that the platform holds, empty when it has none.
func (p *Platform) State() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.connectors[p.current]; c != nil {
		return deref(c.state)
	}
	return deref(p.seedState)
}

// LastReset is when the connector was created or last reset.
func (p *Platform) LastReset() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.connectors[p.current]; c != nil {
		return c.stateTime
	}
	return time.Time{}
}

// SetState puts a state in place, before the first registration as well as later. The state's timestamp stays.
func (p *Platform) SetState(state string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.connectors[p.current]; c != nil {
		c.store(stored{&state, c.stateTime}, p.lag)
		return
	}
	p.seedState = &state
}

// Reset is what an operator's reset does: it empties the state, marks the connector so that its next ping is answered
// with the empty state, and purges its queue where the release does that. The error is the broker's.
func (p *Platform) Reset() error {
	p.mu.Lock()
	c := p.connectors[p.current]
	if c == nil {
		p.mu.Unlock()
		return errors.New("reset connector: none is registered")
	}
	c.empty(p.lag)
	id, purges := c.id, p.cfg.purgesQueues()
	p.mu.Unlock()
	if !purges {
		return nil
	}
	if err := p.queues.purge(id); err != nil && !notFound(err) {
		return err
	}
	return nil
}

// LastHeard lets the last that was heard of the connector be some time ago, as of one that was stopped.
func (p *Platform) LastHeard(ago time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.connectors[p.current]; c != nil {
		c.heard = time.Now().Add(-ago)
		c.updated = c.heard
	}
}

// StaleEcho has the next n pings stored but answered with the state from before them.
func (p *Platform) StaleEcho(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stale = n
}

// Lag has the platform show of connectors what it stored some time ago, as one does whose storage is searched by an index that
// is behind: at registration and to the question for a connector and, for releases that read again what a ping has written, in
// answer to pings. 0 ends it.
func (p *Platform) Lag(behind time.Duration, pings bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lag, p.pingsLag = behind, pings
}

// DeleteConnector removes the connector with its queues. The error is the broker's.
func (p *Platform) DeleteConnector() error {
	p.mu.Lock()
	id := p.current
	delete(p.connectors, id)
	p.mu.Unlock()
	return p.queues.undeclare(id)
}

// DeleteQueues removes the connector's queues and leaves it. The error is the broker's.
func (p *Platform) DeleteQueues() error {
	p.mu.Lock()
	id := p.current
	p.mu.Unlock()
	return p.queues.undeclare(id)
}

// Withdraw removes from the broker what the platform has declared there: the queues of all connectors, with what they hold, and
// the exchanges, unless they were there before it or queues of others are bound to them by now. The error is the broker's.
func (p *Platform) Withdraw() error { return p.queues.withdraw() }

// RevokeToken makes every call fail until AcceptToken.
func (p *Platform) RevokeToken() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.revoked = true
}

// AcceptToken makes token the one that counts.
func (p *Platform) AcceptToken(token string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cfg.Token, p.revoked = token, false
}

// Snapshot is what a backup of a platform holds: connectors with their states, works, and objects.
type Snapshot struct {
	current    string
	connectors map[string]*connector
	seedState  *string
	works      []*work
	held       map[string]*held
}

// Snapshot makes a backup.
func (p *Platform) Snapshot() Snapshot {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Snapshot{p.current, p.connectors, p.seedState, p.works, p.held}.clone()
}

// Restore puts a backup back in place of what the platform holds. The queues, which lie with the broker, stay as they are,
// as does the record of what the platform was told.
func (p *Platform) Restore(s Snapshot) {
	s = s.clone()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current, p.connectors, p.seedState, p.works, p.held = s.current, s.connectors, s.seedState, s.works, s.held
}

func (s Snapshot) clone() Snapshot {
	connectors := map[string]*connector{}
	for id, c := range s.connectors {
		copied := *c
		copied.earlier = slices.Clone(c.earlier)
		connectors[id] = &copied
	}
	works := make([]*work, len(s.works))
	for i, w := range s.works {
		works[i] = w.clone()
	}
	return Snapshot{s.current, connectors, s.seedState, works, maps.Clone(s.held)}
}

// SetQueue overrides the size of the queue; ClearQueue gives the broker the word again.
func (p *Platform) SetQueue(messages int, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = &queueSize{messages, bytes}
}

// ClearQueue ends SetQueue.
func (p *Platform) ClearQueue() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = nil
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// kept bounds each list of what the platform was told: a simulated platform may serve for days. The oldest go first.
const kept = 100_000

// keep appends to a bounded list.
func keep[T any](list []T, v T) []T {
	if len(list) >= kept {
		list = slices.Delete(list, 0, kept/10)
	}
	return append(list, v)
}

// laterThan returns the time, later than the one given even when the clock stands still.
func laterThan(earlier time.Time) time.Time {
	now := time.Now().UTC().Truncate(time.Millisecond)
	if !now.After(earlier) {
		now = earlier.Add(time.Millisecond)
	}
	return now
}
