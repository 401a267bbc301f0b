package connector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// join makes the connector known to the platform: it waits for it, registers, and takes over the state.
func (p *program) join(ctx context.Context) error {
	// A platform that starts is soon noticed, and one request in five seconds is no trouble to it.
	soon := remote.Backoff{Min: 500 * time.Millisecond, Max: 5 * time.Second}
	if err := p.patiently(ctx, "reach OpenCTI", soon, func() error {
		version, err := p.platform.Version(ctx)
		if err == nil {
			p.log.Info("reached OpenCTI", zap.String("version", version))
		}
		return err
	}); err != nil {
		return err
	}
	if p.alone {
		if err := p.beAlone(ctx); err != nil {
			return err
		}
	}
	if err := p.registerAndRemember(ctx, soon); err != nil {
		if p.alone && errors.Is(err, index.ErrHeld) {
			return fmt.Errorf("a connector uses the folder and takes no orders: one that starts takes some in a moment, one that ends or runs once only has to end first: %w", err)
		}
		return err
	}
	if p.alone && !p.memory.durable {
		return errors.Join(errors.New("CONNECTOR_STATE_DIR cannot be used, or another process uses it; a backfill keeps its progress there"), p.memory.Close())
	}
	p.keeper = p.newKeeper()
	p.recall()
	p.follower = p.newFollower()
	if err := p.adoptState(ctx); err != nil {
		return errors.Join(err, p.memory.Close())
	}
	p.status.WatchPlaces(p.keeper.Standing)
	p.status.Joined(p.memory.Index, p.keeper.LastRun, p.follower.Counts)
	return nil
}

// registerAndRemember registers and opens the index of delivered objects. Where its disk is full, a connector that stays does both
// again until there is room: what waits for other objects cannot be kept elsewhere, and what OpenCTI said of the state is old by then.
func (p *program) registerAndRemember(ctx context.Context, pace remote.Backoff) (err error) {
	room := remote.Backoff{Min: time.Second, Max: 30 * time.Second}
	const telling = 10 * time.Minute
	var told time.Time
	for failures := 0; ; failures++ {
		if err := p.patiently(ctx, "register with OpenCTI", pace, func() error {
			_, err := p.register(ctx)
			return err
		}); err != nil {
			return err
		}
		p.memory, err = openMemory(ctx, p.cfg, p.log)
		full := errors.Is(err, index.ErrFull)
		p.status.DiskIsFull(full)
		switch {
		case !full || p.alone || p.cfg.Connector.RunOnce():
			return err
		case time.Since(told) > telling:
			told = time.Now()
			p.plain.Error("nothing is imported, for CONNECTOR_STATE_DIR has no room; make some, and the connector goes on by itself", zap.Error(err))
		}
		if ended := remote.Wait(ctx, room.Delay(failures)); ended != nil {
			return fmt.Errorf("wait for room in CONNECTOR_STATE_DIR: %w; it was waiting because of this: %w", ended, err)
		}
	}
}

// beAlone makes sure that no connector with the same id runs somewhere else: both would write one state, and import twice. It asks
// before anything else is said to OpenCTI, which takes that for a sign of life.
func (p *program) beAlone(ctx context.Context) error {
	found, err := p.lookForOther(ctx)
	switch {
	case errors.Is(err, opencti.ErrConnectorGone):
		return nil
	case err != nil:
		return fmt.Errorf("ask whether the connector runs: %w", err)
	case found.elsewhere:
		return fmt.Errorf("OpenCTI has heard of a connector with this CONNECTOR_ID at %s, which does not use the folder %s: run the command where it runs, as with docker exec, or five minutes after it was stopped",
			found.lastSeen.UTC().Format(time.RFC3339), p.cfg.Connector.StateDir)
	}
	return nil
}

// adoptState takes over the state that the platform holds.
func (p *program) adoptState(ctx context.Context) error {
	if err := p.keeper.Adopt(ctx, heldOf(p.currentRegistration())); err != nil {
		return err
	}
	if p.cfg.Connector.Reimport {
		if _, err := p.lookAtWorks(ctx); err != nil { // the last time that they are known
			return err
		}
		p.log.Info("importing everything again, as CONNECTOR_REIMPORT asks")
		p.keeper.Forget()
	}
	p.tellImportStart()
	if p.alone || !p.cfg.Connector.RunOnce() { // else it is for the next one that stays, or the command
		p.backfill.found()
	}
	return nil
}

// tellImportStart says, whatever the level, that an import start before what was imported changes nothing.
func (p *program) tellImportStart() {
	if w := p.cfg.ThreatMatch.EarlierStart(p.keeper.ImportedFrom(), time.Now()); w != "" {
		p.notices.Warn(string(w))
	}
}
