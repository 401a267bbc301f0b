package threatmatch

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"go.uber.org/zap"
)

// Client reads the ThreatMatch API. Its methods may be called side by side.
type Client struct{ *caller }

// New checks cfg and prepares a client; it sends nothing.
func New(cfg Config) (*Client, error) {
	c, err := newCaller(cfg)
	if err != nil {
		return nil, fmt.Errorf("configure ThreatMatch client: %w", err)
	}
	return &Client{c}, nil
}

// BeginRun says that a run begins: its calls may wait for an API that is away as long as Config.Patience says, all together, also
// where those of the run before have waited in vain.
func (c *Client) BeginRun() { c.outages.renew() }

// List returns the ids of what changed in a dataset ("profiles", "alerts", "reports") since a moment, to the minute
// before it: each once, in ascending order (see [CompareIDs]). Entries that cannot be ids, or have more than 512 bytes, cost
// themselves and are told of in the log.
func (c *Client) List(ctx context.Context, dataset string, since time.Time) ([]string, error) {
	list, err := askFor(ctx, c.caller, decodeList, listCall(dataset, since))
	if list.odd > 0 {
		c.cfg.Log.Warn("entries of a list are no ids and are left out", zap.String("dataset", dataset), zap.Int("entries", list.odd))
	}
	return list.ids, err
}

// laterDay is what to do about a list that is too large.
const laterDay = "set THREATMATCH_IMPORT_FROM_DATE to a later day"

func listCall(dataset string, since time.Time) *call {
	return &call{
		op:    "list " + dataset,
		part:  dataset,
		limit: bound{listBody, laterDay},
		path:  "/api/" + url.PathEscape(dataset) + "/all",
		query: url.Values{"mode": {"compact"}, "date_since": {formatSince(since)}},
	}
}

// formatSince writes a moment as the list calls want it: UTC, to the minute, rounded down so that nothing is missed.
func formatSince(since time.Time) string {
	since = since.UTC()
	if since.Before(time.Unix(0, 0)) {
		since = time.Unix(0, 0).UTC()
	}
	return since.Format("2006-01-02 15:04")
}

// Item returns the STIX objects of one item: the text of a JSON array, verbatim, perhaps an empty one.
func (c *Client) Item(ctx context.Context, dataset, id string) (Item, error) {
	return c.ItemWithin(ctx, dataset, id, nil)
}

// ItemWithin is [Client.Item] for a caller who has to find room for the answer: grow is told how many bytes there are so far,
// over and over, and from the beginning with each attempt. When it returns an error, which is to wrap [ErrNoRoom], the call
// fails with that and is not tried again.
func (c *Client) ItemWithin(ctx context.Context, dataset, id string, grow func(size int64) error) (Item, error) {
	return askFor(ctx, c.caller, decodeItem, &call{
		grow: grow,
		op:   "read item of " + dataset,
		part: dataset,
		path: "/api/stix/" + url.PathEscape(dataset) + "/" + escapeSegment(id),
	})
}

// escapeSegment makes an id one segment of a path: dots that would climb are escaped too.
func escapeSegment(id string) string {
	if id == "." || id == ".." {
		return strings.ReplaceAll(id, ".", "%2E")
	}
	return url.PathEscape(id)
}

// indicatorsPart is the part of the API that tells of groups and their indicators.
const indicatorsPart = "indicators"

// Groups returns the collections that the client may read, perhaps none. Entries that are no groups cost themselves and are told of
// in the log.
func (c *Client) Groups(ctx context.Context) ([]Group, error) {
	list, err := askFor(ctx, c.caller, decodeGroups, groupsCall())
	if list.odd > 0 {
		c.cfg.Log.Warn("entries of the list of groups are no groups and are left out", zap.Int("entries", list.odd))
	}
	return list.groups, err
}

func groupsCall() *call {
	return &call{op: "list groups", part: indicatorsPart, path: "/api/taxii/groups", limit: bound{bytes: smallBody}}
}

// Indicators returns the first indicators of a group after a moment, in the text form that the API wants
// (2025-04-17T15:24:00.000Z).
func (c *Client) Indicators(ctx context.Context, groupID, modifiedAfter string) (IndicatorPage, error) {
	return c.IndicatorsWithin(ctx, groupID, modifiedAfter, nil)
}

// IndicatorsWithin is [Client.Indicators] for a caller who has to find room for the answer, as [Client.ItemWithin] is for items.
func (c *Client) IndicatorsWithin(ctx context.Context, groupID, modifiedAfter string, grow func(size int64) error) (IndicatorPage, error) {
	return askFor(ctx, c.caller, decodePage, &call{
		grow:  grow,
		op:    "read indicators after " + modifiedAfter,
		part:  indicatorsPart,
		path:  "/api/taxii/objects",
		query: url.Values{"groupId": {groupID}, "stixTypeName": {"indicator"}, "modifiedAfter": {modifiedAfter}},
	})
}

// Now is the local time, corrected so that it is not ahead of the server's as far as its answers have shown.
func (c *Client) Now() time.Time { return c.cfg.Now().Add(-c.Ahead() - clockMargin) }

// Ahead is the largest amount by which the local clock was found ahead of the server's, never negative. It includes the
// time that the answer took. A moment taken with [Client.Now] before the first answer can be corrected by what Ahead
// grew since.
func (c *Client) Ahead() time.Duration { return time.Duration(c.clock.ahead.Load()) }

// Requests counts the requests that left, retries and tokens included.
func (c *Client) Requests() int64 { return c.wire.requests.Load() }

// Silent reports that the API does not answer, and has not for a while.
func (c *Client) Silent() bool { return c.silence.Told() }

// Irregular counts the answers that repeat a member name or hold invalid UTF-8; they are read all the same.
func (c *Client) Irregular() int64 { return c.lax.Load() }

// CloseIdle closes the connections that no call uses.
func (c *Client) CloseIdle() {
	if t, ok := c.cfg.Transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}
