package check

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/connector"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/remotes"
	"github.com/opencti-connectors/threatmatch/fetch"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
)

// lately is how far back the lists are asked: enough to see that they answer, and little to wait for.
const lately = 24 * time.Hour

// threatmatchLook is a look at ThreatMatch's API.
type threatmatchLook struct {
	place
	api    *threatmatch.Client
	groups []threatmatch.Group
	// noGroups is why they could not be listed although there was a token.
	noGroups error
}

func (c *checker) threatmatch(ctx context.Context) *part {
	p := &part{name: partThreatMatch}
	carrier := remotes.ToThreatMatch(c.cfg, c.keys)
	defer carrier.CloseIdleConnections()
	at, err := placeOf(remotes.WayToThreatMatch(c.cfg, c.keys), c.cfg.ThreatMatch.URL, threatmatch.Settings)
	if err != nil {
		p.must(ctx, "address", failing(err))
		return p
	}
	p.reach(ctx, at)
	watch := &clockWatch{next: carrier}
	look := &threatmatchLook{place: at}
	if look.api, err = remotes.ThreatMatchAtOnce(c.cfg, watch, c.version); err != nil {
		p.must(ctx, "settings", failing(err))
		return p
	}
	p.must(ctx, "token", look.token)
	p.all(ctx, connector.Datasets(c.cfg), look.dataset)
	p.try(ctx, "clock", watch.compare(partThreatMatch))
	return p
}

// failing is a check that has failed.
func failing(err error) step {
	return func(context.Context) (string, string, error) { return "", "", err }
}

// token gets a token, by making the cheapest call that needs one.
func (l *threatmatchLook) token(ctx context.Context) (string, string, error) {
	groups, err := l.api.Groups(ctx)
	switch {
	case threatmatch.IsTokenFailure(err), threatmatch.IsUnauthorized(err):
		return "", "", l.named(ctx, err)
	case err != nil && threatmatch.IsAway(err), err != nil && ctx.Err() != nil:
		return "", "", l.named(ctx, err) // whether there was a token is not known
	}
	l.groups, l.noGroups = groups, err
	return "the client id and secret are accepted", "", nil
}

// dataset asks for what has changed lately in a dataset.
func (l *threatmatchLook) dataset(name string) step {
	return func(ctx context.Context) (string, string, error) {
		since := time.Now().Add(-lately)
		if name == fetch.IndicatorsDataset {
			return l.indicators(ctx, since)
		}
		ids, err := l.api.List(ctx, name, since)
		if err != nil {
			return "", "", l.named(ctx, err)
		}
		return fmt.Sprintf("the list answers: %d changed in the last day", len(ids)), "", nil
	}
}

// indicators asks for the first page of what has changed.
func (l *threatmatchLook) indicators(ctx context.Context, since time.Time) (string, string, error) {
	if l.noGroups != nil {
		return "", "", l.named(ctx, l.noGroups)
	}
	group, err := fetch.IndicatorGroup(l.groups)
	if err != nil {
		return "", "", wrong("until then, set THREATMATCH_IMPORT_IOCS=false", "%v", err)
	}
	page, err := l.api.Indicators(ctx, group.ID, since.UTC().Format("2006-01-02T15:04:05.000Z"))
	if err != nil {
		return "", "", l.named(ctx, err)
	}
	more := ""
	if page.More && len(page.Objects) > 0 {
		more = " or more"
	}
	return fmt.Sprintf("group %q answers: %d%s changed in the last day", group.Name, len(page.Objects), more), "", nil
}

// named says what is wrong with a call that failed.
func (l *threatmatchLook) named(ctx context.Context, err error) error {
	said := err.Error()
	var answered *threatmatch.Error
	if errors.As(err, &answered) {
		said = answered.Op
		if answered.Status != 0 && answered.Status != http.StatusOK {
			said += fmt.Sprintf(": %d %s", answered.Status, http.StatusText(answered.Status))
		}
		if answered.Detail != "" {
			said += ": " + answered.Detail
		}
	}
	return l.explain(ctx, threatmatch.Diagnose(err), said, "try again later; if it stays so, ask ThreatMatch")
}
