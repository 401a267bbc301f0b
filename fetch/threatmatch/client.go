package threatmatch

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// Client reads the ThreatMatch API. Its methods may be called side by side.
type Client struct {
	cfg     Config
	base    *url.URL
	http    *retryablehttp.Client
	tokens  *tokens
	secrets *remote.Redactor
	clock   clock
	buffers sync.Pool

	requests atomic.Int64
	lax      atomic.Int64
}

// New checks cfg and prepares a client; it sends nothing.
func New(cfg Config) (*Client, error) {
	cfg = cfg.withDefaults()
	base, err := cfg.base()
	if err != nil {
		return nil, fmt.Errorf("configure ThreatMatch client: %w", err)
	}
	c := &Client{cfg: cfg, base: base, clock: clock{now: cfg.Now}, secrets: remote.NewRedactor(cfg.ClientID, cfg.ClientSecret)}
	c.tokens = &tokens{fetch: c.fetchToken}
	c.http = &retryablehttp.Client{
		HTTPClient:   &http.Client{Transport: newWire(c), CheckRedirect: remote.FollowRedirect},
		RetryMax:     cfg.Attempts - 1,
		CheckRetry:   checkRetry,
		Backoff:      c.backoff,
		ErrorHandler: passError,
		RequestLogHook: func(_ retryablehttp.Logger, req *http.Request, retry int) {
			if k := callOf(req.Context()); retry > 0 && k != nil {
				cfg.Log.Debug("retrying", zap.String("path", k.path), zap.Int("retry", retry))
			}
		},
	}
	return c, nil
}

// Group is a collection of indicators.
type Group struct{ ID, Name string }

// IndicatorPage is one answer of the indicators' paging.
type IndicatorPage struct {
	// More says that the API holds more after this page. An API that does not say counts as holding more.
	More bool
	// Objects are the indicators, verbatim.
	Objects []json.RawMessage
}

// List returns the ids of what changed in a dataset ("profiles", "alerts", "reports") since a moment, to the minute
// before it: each once, in ascending order (see [CompareIDs]).
func (c *Client) List(ctx context.Context, dataset string, since time.Time) ([]string, error) {
	var ids []string
	err := c.do(ctx, &call{
		op:    "list " + dataset,
		path:  "/api/" + url.PathEscape(dataset) + "/all",
		query: url.Values{"mode": {"compact"}, "date_since": {formatSince(since)}},
		decode: func(body []byte, lax bool) (err error) {
			ids, err = decodeList(body, lax)
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	return ids, nil
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
func (c *Client) Item(ctx context.Context, dataset, id string) (json.RawMessage, error) {
	var objects json.RawMessage
	err := c.do(ctx, &call{
		op:   "read item of " + dataset,
		path: "/api/stix/" + url.PathEscape(dataset) + "/" + escapeSegment(id),
		decode: func(body []byte, lax bool) (err error) {
			objects, err = decodeItem(body, lax)
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	return objects, nil
}

// escapeSegment makes an id one segment of a path: dots that would climb are escaped too.
func escapeSegment(id string) string {
	if id == "." || id == ".." {
		return strings.ReplaceAll(id, ".", "%2E")
	}
	return url.PathEscape(id)
}

// Groups returns the collections that the client may read, perhaps none.
func (c *Client) Groups(ctx context.Context) ([]Group, error) {
	var groups []Group
	err := c.do(ctx, &call{
		op:   "list groups",
		path: "/api/taxii/groups",
		decode: func(body []byte, lax bool) (err error) {
			groups, err = decodeGroups(body, lax)
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	return groups, nil
}

// Indicators returns the first indicators of a group after a moment, in the text form that the API wants
// (2025-04-17T15:24:00.000Z).
func (c *Client) Indicators(ctx context.Context, groupID, modifiedAfter string) (IndicatorPage, error) {
	var page IndicatorPage
	err := c.do(ctx, &call{
		op:    "read indicators after " + modifiedAfter,
		path:  "/api/taxii/objects",
		query: url.Values{"groupId": {groupID}, "stixTypeName": {"indicator"}, "modifiedAfter": {modifiedAfter}},
		decode: func(body []byte, lax bool) (err error) {
			page, err = decodePage(body, lax)
			return err
		},
	})
	if err != nil {
		return IndicatorPage{}, err
	}
	return page, nil
}

// Requests counts the requests that left, retries and tokens included.
func (c *Client) Requests() int64 { return c.requests.Load() }

// Irregular counts the answers that repeat a member name or hold invalid UTF-8; they are read all the same.
func (c *Client) Irregular() int64 { return c.lax.Load() }

// CloseIdle closes the connections that no call uses.
func (c *Client) CloseIdle() {
	if t, ok := c.cfg.Transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

func (c *Client) noteIrregular(k *call, cause error) {
	c.lax.Add(1)
	c.cfg.Log.Warn("answer is irregular JSON, read leniently",
		zap.String("path", k.path), zap.String("cause", c.redact(cause.Error())))
}
