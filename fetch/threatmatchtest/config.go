package threatmatchtest

import (
	"cmp"
	"iter"
	"time"
)

// What a Config that leaves them out stands for.
const (
	DefaultClientID     = "sandbox"
	DefaultClientSecret = "sandbox-secret"
	// defaultPageSize is what the real API was seen to send.
	defaultPageSize      = 100
	defaultTokenLifetime = time.Hour
	// defaultKeepCalls holds a run over a million indicators and tens of thousands of items, in some 20 MB.
	defaultKeepCalls = 100_000
)

// Data is what a server serves. Its methods are called by many goroutines at once; what they return must not be changed
// afterwards by anybody.
type Data interface {
	// IDs yields the ids of a dataset's items whose date is since or later.
	IDs(dataset string, since time.Time) iter.Seq[int64]
	// Item returns the JSON array of the item's objects, and whether the dataset has such an item.
	Item(dataset, id string) (objects []byte, ok bool)
	// Indicators returns the first limit indicators, in order of modified, whose modified lies behind after (or at it, if
	// inclusive), each as the text of one JSON object, and whether there are more behind them.
	Indicators(after time.Time, inclusive bool, limit int) (objects [][]byte, more bool)
}

// Config says what a server serves and how. Only Data is needed.
type Config struct {
	Data Data
	// ClientID and ClientSecret are what the token endpoint accepts: DefaultClientID and DefaultClientSecret if empty.
	ClientID, ClientSecret string
	// PageSize is the number of indicators a page, 100 if zero.
	PageSize int
	// Latency passes before each answer.
	Latency time.Duration
	// Inclusive makes modifiedAfter mean "at or after" instead of "after".
	Inclusive bool
	// TokenLifetime is how long a token is accepted, an hour if zero.
	TokenLifetime time.Duration
	// RateLimit is the number of requests a second, with bursts of as many, above which the answer is a 429 with
	// Retry-After; 0 means no limit.
	RateLimit float64
	// Now is the server's clock, which the Date header shows too: time.Now if nil.
	Now func() time.Time
	// NoGzip sends every answer uncompressed, even to clients that accept gzip.
	NoGzip bool
	// KeepCalls bounds how many of the latest calls Server.Calls and Server.Count know of: 100,000 if zero.
	KeepCalls int
	// OnCall is called before each answer, when the latency has passed, with a Call whose Status is still zero. It may
	// change the data and the server's faults.
	OnCall func(Call)
}

func (c Config) withDefaults() Config {
	c.ClientID = cmp.Or(c.ClientID, DefaultClientID)
	c.ClientSecret = cmp.Or(c.ClientSecret, DefaultClientSecret)
	if c.PageSize <= 0 {
		c.PageSize = defaultPageSize
	}
	if c.TokenLifetime <= 0 {
		c.TokenLifetime = defaultTokenLifetime
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.KeepCalls <= 0 {
		c.KeepCalls = defaultKeepCalls
	}
	return c
}
