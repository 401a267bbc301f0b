package opencti

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Khan/genqlient/graphql"
	"github.com/hashicorp/go-retryablehttp"
	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

const (
	// defaultTimeout bounds one call with all its attempts. A busy platform takes seconds to answer a registration; one
	// that takes longer than this is not going to.
	defaultTimeout = 60 * time.Second
	// maxAnswer bounds an answer. The largest that a platform has reason to send is a work with a hundred errors, each with
	// an object of up to 50,000 characters, all of which may be escaped.
	maxAnswer = 16 << 20
	// queryAttempts, firstPause and longestPause shape the repetition of queries: long enough to outlast a proxy that
	// changes its backend, short enough that a heartbeat does not miss its turn.
	queryAttempts = 4
	firstPause    = 200 * time.Millisecond
	longestPause  = 2 * time.Second
	// idsPerQuery bounds one question of Holds: a platform answers it within a second.
	idsPerQuery = 500
	// aliasesPerQuery bounds it on an older platform: there each id is a search of its own, and all of them share a time
	// limit.
	aliasesPerQuery = 100
	// questionsAtOnce bounds the questions under way for one call of Holds: the platform serves others beside us.
	questionsAtOnce = 4
)

// Config says which platform to talk to, and as whom.
type Config struct {
	// URL is the platform's base URL, with or without a trailing slash; /graphql is added.
	URL   string
	Token string
	// Headers are added to every request. They cannot replace those that GraphQL needs.
	Headers http.Header
	// HTTP makes the requests; TLS and proxies are set in its transport. Where that is nil, [remote.NewTransport]'s is used.
	HTTP        *http.Client
	ConnectorID string
	// Timeout bounds one call, repetitions included; zero means 60 s.
	Timeout time.Duration
	// Log is told, at the level of errors, when the platform does not answer, and warned of what it lacks; nil for none.
	Log *zap.Logger
}

// Client makes the calls of one connector. It is safe for concurrent use.
type Client struct {
	endpoint    string
	connectorID string
	timeout     time.Duration
	header      http.Header
	secrets     *remote.Redactor
	http        *http.Client
	queries     *retryablehttp.Client
	silence     *remote.Silence
	// aliases is how many a question may have, as far as the platform has let us know.
	aliases atomic.Int64

	log *zap.Logger

	mu    sync.Mutex
	lacks map[lesson]*Error // what the platform does not know, and how it said so
	told  map[string]bool   // of which of that was said what is lost
}

var _ graphql.Client = (*Client)(nil)

// New returns a client. It fails for a URL that is not absolute http or https, and for a header that HTTP does not
// allow; it connects to nothing.
func New(cfg Config) (*Client, error) {
	base, err := url.Parse(strings.TrimSpace(cfg.URL))
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return nil, errors.New("set up OpenCTI client: OPENCTI_URL must be an absolute URL like https://opencti.example.org")
	}
	if strings.ContainsAny(cfg.Token, "\r\n\x00") {
		return nil, errors.New("set up OpenCTI client: OPENCTI_TOKEN must be one line")
	}
	base.User, base.RawQuery, base.Fragment = nil, "", ""
	if base.Path = strings.TrimRight(base.Path, "/"); !strings.HasSuffix(base.Path, "/graphql") {
		base.Path += "/graphql"
	}
	c := &Client{
		endpoint:    base.String(),
		connectorID: cfg.ConnectorID,
		timeout:     cfg.Timeout,
		header:      cfg.Headers.Clone(),
		log:         cfg.Log,
		lacks:       map[lesson]*Error{},
		told:        map[string]bool{},
	}
	if c.log == nil {
		c.log = zap.NewNop()
	}
	if c.timeout <= 0 {
		c.timeout = defaultTimeout
	}
	if c.header == nil {
		c.header = http.Header{}
	}
	secrets := []string{cfg.Token}
	for _, values := range c.header {
		secrets = append(secrets, values...)
	}
	c.secrets = remote.NewRedactor(secrets...)
	c.header.Set("Authorization", "Bearer "+cfg.Token)
	c.header.Set("Accept", "application/json")
	c.http = new(http.Client)
	if cfg.HTTP != nil {
		*c.http = *cfg.HTTP
	}
	if c.http.Transport == nil {
		c.http.Transport = remote.NewTransport(remote.Way{})
	}
	c.http.CheckRedirect = remote.FollowRedirect
	c.silence = newSilence(cfg.Log)
	c.queries = c.retrying()
	c.aliases.Store(aliasesPerQuery)
	return c, nil
}

// Close drops the idle connections. The client stays usable.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// retrying wraps the client for queries. The body is read as part of an attempt, so that one which breaks off is
// repeated too.
func (c *Client) retrying() *retryablehttp.Client {
	return &retryablehttp.Client{
		HTTPClient:   c.http,
		RetryMax:     queryAttempts - 1,
		RetryWaitMin: firstPause,
		RetryWaitMax: longestPause,
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
		CheckRetry: func(ctx context.Context, resp *http.Response, err error) (bool, error) {
			if ctx.Err() != nil {
				return false, ctx.Err()
			}
			if err != nil {
				c.noAnswer(err)
				return !permanent(err), nil
			}
			body, err := readBody(resp)
			resp.Body = io.NopCloser(bytes.NewReader(body))
			if err != nil {
				return !errors.Is(err, errTooLarge), err
			}
			return temporaryStatus(resp.StatusCode) || (!looksJSON(body) && resp.StatusCode == http.StatusOK), nil
		},
		// A Retry-After is not heeded here: the pauses are short, and the caller has a schedule of its own.
		Backoff: func(least, most time.Duration, attempt int, _ *http.Response) time.Duration {
			return remote.Backoff{Min: least, Max: most}.Delay(attempt)
		},
	}
}

// mostLessons bounds how often an operation is sent again without what the platform has just said that it lacks. It checks the
// document first and the variables then, and calls side by side learn, too.
const mostLessons = 8

// MakeRequest sends one operation of the generated code, without what the platform is known to lack. One that it refuses for
// more of that was not executed, so that even a mutation may be sent again without.
func (c *Client) MakeRequest(ctx context.Context, req *graphql.Request, resp *graphql.Response) error {
	for lessons := 0; ; lessons++ {
		query, variables, lack, err := c.without(req)
		if err != nil {
			return &Error{Operation: req.OpName, Message: "encode operation: " + tidy(c.secrets, err.Error()), Unsent: true}
		}
		if lack != nil {
			return lack
		}
		err = c.do(ctx, req.OpName, query, variables, resp.Data)
		var e *Error
		if !errors.As(err, &e) || lessons == mostLessons || !c.learn(e, query+string(variables)) {
			return err
		}
	}
}

// without returns an operation as the platform knows it, or how it said that it lacks what all of it is about.
func (c *Client) without(req *graphql.Request) (query string, variables json.RawMessage, lack *Error, err error) {
	if variables, err = json.Marshal(req.Variables); err != nil {
		return "", nil, nil, err
	}
	c.mu.Lock()
	lacks := maps.Clone(c.lacks)
	c.mu.Unlock()
	if len(lacks) == 0 {
		return req.Query, variables, nil, nil
	}
	var said *Error // the first that was met
	query, pruned, ok, err := prune(req.Query, variables, func(name string, as role) bool {
		e := cmp.Or(lacks[lesson{name, as}], lacks[lesson{name: name}])
		if e != nil && said == nil {
			said = e
		}
		return e != nil
	})
	if err == nil && !ok {
		refused := *said
		refused.Operation, refused.misfit = req.OpName, true
		return "", nil, &refused, nil
	}
	return query, pruned, nil, err
}

// do sends one operation and decodes its data into the value at into. Its errors are all of type *Error.
func (c *Client) do(ctx context.Context, name, query string, variables, into any) error {
	payload, err := json.Marshal(map[string]any{"operationName": name, "query": query, "variables": variables})
	if err != nil {
		return &Error{Operation: name, Message: "encode variables: " + tidy(c.secrets, err.Error()), Unsent: true}
	}
	return c.call(ctx, name, query, document{payload, "application/json"}, into)
}

// document is the body of a request.
type document struct {
	text []byte
	kind string // Content-Type
}

// call sends one operation and decodes its data into the value at into.
func (c *Client) call(ctx context.Context, name, query string, body document, into any) error {
	defer c.silence.Watch()()
	failure := c.ask(ctx, name, query, body, into)
	c.listen(ctx, failure)
	if failure == nil {
		return nil
	}
	return failure
}

// ask sends one operation, and decodes its data.
func (c *Client) ask(ctx context.Context, name, query string, asked document, into any) *Error {
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	status, body, reached, err := c.send(limited, asked, isMutation(query))
	if err != nil {
		return c.transportError(ctx, name, status, reached, err)
	}
	data, failure := parseAnswer(c.secrets, status, body)
	if failure == nil {
		if err := json.Unmarshal(data, into); err != nil {
			failure = &Error{Status: status, Message: "unexpected answer: " + tidy(c.secrets, err.Error())}
		}
	}
	if failure != nil {
		failure.Operation, failure.misfit = name, namesAny(query+string(asked.text), failure.unknown)
	}
	return failure
}

func isMutation(query string) bool {
	return strings.HasPrefix(strings.TrimSpace(query), "mutation")
}

// send makes the request, or for a query up to queryAttempts of them. reached tells whether any of them may have got
// to the platform.
func (c *Client) send(ctx context.Context, asked document, once bool) (status int, body []byte, reached bool, err error) {
	var wanted, connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { wanted.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	// A transport that was never seen asking for a connection does not report on them: it may have sent the request.
	got := func() bool { return connected.Load() || !wanted.Load() }

	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint, bytes.NewReader(asked.text))
	if err != nil {
		return 0, nil, false, err
	}
	req.Header = c.header.Clone()
	req.Header.Set("Content-Type", asked.kind)
	var resp *http.Response
	if once {
		resp, err = c.http.Do(req)
	} else {
		var again *retryablehttp.Request
		if again, err = retryablehttp.FromRequest(req); err == nil {
			resp, err = c.queries.Do(again)
		}
	}
	if err != nil {
		if resp != nil {
			_ = resp.Body.Close()
			return resp.StatusCode, nil, got(), err
		}
		return 0, nil, got(), err
	}
	body, err = readBody(resp)
	return resp.StatusCode, body, true, err
}

var errTooLarge = fmt.Errorf("answer is larger than %d bytes", maxAnswer)

func readBody(resp *http.Response) ([]byte, error) {
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		return nil, errTooLarge
	}
	return body, err
}

// permanent reports failures that another attempt meets again.
func permanent(err error) bool { return errors.Is(err, errTooLarge) || remote.Lasting(err) }

// transportError describes a call without a usable answer. ctx is the caller's own context.
func (c *Client) transportError(ctx context.Context, name string, status int, reached bool, err error) *Error {
	e := &Error{Operation: name, Status: status, cause: err, Unsent: !reached}
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
	}
	e.Message, e.why = tidy(c.secrets, err.Error()), remote.Diagnose(err, Settings)
	switch {
	case ctx.Err() != nil:
		e.cause, e.Message = ctx.Err(), ctx.Err().Error()
	case remote.Lasting(err):
		e.Message += "; " + cmp.Or(e.why.String(), "check OPENCTI_URL and OPENCTI_SSL_VERIFY")
	case errors.Is(err, errTooLarge):
	case errors.Is(err, context.DeadlineExceeded):
		e.Temporary = true
		e.Message = fmt.Sprintf("no answer within %s", c.timeout)
	default:
		e.Temporary = true
		if !reached {
			e.Message += "; " + cmp.Or(e.why.String(), "check that OPENCTI_URL is reachable from here")
		}
	}
	return e
}
