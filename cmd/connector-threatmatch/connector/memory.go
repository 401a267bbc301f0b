package connector

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/state/index"
	"github.com/opencti-connectors/threatmatch/transform"
)

// memory is the index of delivered objects, and what is known of its folder.
type memory struct {
	*index.Index
	durable     bool // it outlives the process
	waitingLost bool // it has lost objects that waited for others
}

// openMemory opens the index of delivered objects.
func openMemory(ctx context.Context, cfg config.Config, log *zap.Logger) (memory, error) {
	x, opening, err := index.Open(ctx, cfg.Connector.StateDir, Identity(cfg), index.Options{})
	if err != nil {
		return memory{}, fmt.Errorf("open the index of delivered objects in %s: %w", cfg.Connector.StateDir, err)
	}
	switch {
	case opening.Temporary:
		log.Error("CONNECTOR_STATE_DIR cannot be used; what was delivered, and what waits for other objects, is remembered until the connector stops",
			zap.String("reason", opening.Reason))
	case opening.Fresh && opening.Reason != index.NeverBefore:
		log.Error("the index of delivered objects starts anew: some objects are sent again, and what was held back for others, or went elsewhere, comes with CONNECTOR_REIMPORT=true", zap.String("reason", opening.Reason))
	case opening.Fresh:
		log.Info("the index of delivered objects starts anew", zap.String("reason", opening.Reason))
	}
	if opening.WaitingLost != "" {
		log.Error("some objects that waited for others were lost with their file; those of items under way are fetched again, the others come with their items, or with CONNECTOR_REIMPORT=true", zap.String("reason", opening.WaitingLost))
	}
	if opening.Exposed != "" {
		log.Warn("others than the connector's user may read what CONNECTOR_STATE_DIR holds of the intelligence; "+
			"give it a folder of its own that belongs to that user", zap.String("reason", opening.Exposed))
	}
	return memory{x, !opening.Temporary, opening.WaitingLost != ""}, nil
}

// errWaitingLost fails a run that needed what the disk has lost.
var errWaitingLost = errors.New("some of the objects that waited on disk for others are lost")

// loseWaiting reports whether objects that waited for others could not be read any more, and has their items brought again that
// are not delivered. It says so itself, for not every end of a run is told of at error, and it is not known a second time.
func (p *program) loseWaiting() error {
	damage := p.memory.Waiting().TakeDamage()
	if damage == nil {
		return nil
	}
	p.log.Error("some objects that waited for others were lost on disk; those of items under way are fetched again, the others come with their items, or with CONNECTOR_REIMPORT=true",
		zap.Error(damage))
	p.keeper.LoseWaiting()
	return errWaitingLost
}

// Identity says what the index of delivered objects is good for: what changes the objects makes it another one.
func Identity(cfg config.Config) index.Identity {
	t := cfg.ThreatMatch
	return index.Identity{
		Connector: cfg.Connector.ID,
		Platform:  cfg.OpenCTI.URL,
		Mapping: fmt.Sprintf("tlp=%s descriptions=%s labels=%s threat-actor-as-intrusion-set=%t relations=%s mapping=%d",
			t.TLP, t.DescriptionFormat, t.Labels, t.ThreatActorAsIntrusionSet, cfg.Connector.Relations, transform.MappingVersion) + chosen(t),
		Destination: destination(cfg),
	}
}

// destination tells where what is delivered goes, "" for OpenCTI's queue alone: what went to one place is not in another. A folder
// that was moved, or is mounted elsewhere, is the same place.
func destination(cfg config.Config) string {
	var to []string
	switch c := cfg.Connector; {
	case c.Uploads():
		to = append(to, "workbenches")
	case c.Drafts():
		to = append(to, "drafts")
	case c.SendToQueue:
		to = append(to, "OpenCTI's queue")
	}
	if cfg.Directory.On {
		to = append(to, "a folder")
	}
	if cfg.S3.On {
		to = append(to, "S3 at "+cfg.S3.Endpoint+"/"+cfg.S3.Bucket+"/"+cfg.S3.Folder)
	}
	switch {
	case slices.Equal(to, []string{"OpenCTI's queue"}):
		return ""
	case len(to) == 0:
		return "nowhere"
	}
	return strings.Join(to, " and ")
}

// chosen says which filters and additions are on, nothing where none is, as before there were any.
func chosen(t config.ThreatMatch) (text string) {
	for _, c := range []struct {
		name  string
		on    bool
		value any
	}{
		{"max-tlp", t.MaxTLP != "", t.MaxTLP},
		{"types", len(t.Types) > 0, sorted(t.Types)}, {"exclude-types", len(t.ExcludeTypes) > 0, sorted(t.ExcludeTypes)},
		{"min-confidence", t.MinConfidence > 0, t.MinConfidence}, {"min-score", t.MinScore > 0, t.MinScore},
		{"tags", len(t.Tags) > 0, sorted(t.Tags)}, {"exclude-tags", len(t.ExcludeTags) > 0, sorted(t.ExcludeTags)},
		{"observables", t.CreateObservables, true},
	} {
		if c.on {
			text += fmt.Sprintf(" %s=%v", c.name, c.value)
		}
	}
	if t.Score != nil {
		text += fmt.Sprintf(" score=%d", *t.Score)
	}
	return text
}

// sorted quotes names, so that neither their order nor what is in them makes two lists look alike or different.
func sorted(names []string) string { return fmt.Sprintf("%q", slices.Sorted(slices.Values(names))) }
