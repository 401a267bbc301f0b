package snapshot

import (
	"fmt"
	"strings"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
)

// Imports is what OpenCTI's workers have made of the works that they are not through with.
type Imports struct {
	// Open counts these works.
	Open int `json:"open_works"`
	// Expected and Done are messages, when OpenCTI was last asked, at AsOf, which is absent before. Done counts those that failed too.
	Expected int64     `json:"expected"`
	Done     int64     `json:"done"`
	AsOf     time.Time `json:"as_of,omitzero"`
	// Lately is how many messages a second were imported in the last minute.
	Lately float64 `json:"lately_per_second"`
	// Rate is how many messages a second OpenCTI's workers manage while there is something to import, as measured last, at RateAt.
	Rate   float64   `json:"rate_per_second"`
	RateAt time.Time `json:"rate_at,omitzero"`
	// Remaining is how many seconds the rest takes at that rate, 0 for unknown.
	Remaining float64 `json:"remaining_seconds,omitempty"`
	// Failed counts what OpenCTI reports as not imported, by the platform's name for why; it names no more than a hundred of a work.
	Failed []Count `json:"failed,omitempty"`
	// Unknown says why OpenCTI could not be asked, "" when it could: what is known is of AsOf then, and there is no Lately nor Remaining.
	Unknown string `json:"unknown,omitempty"`
}

// Left is how many messages are still to be imported.
func (i Imports) Left() int64 { return max(0, i.Expected-i.Done) }

// String says how much is imported, how fast, how long the rest takes, and what has failed.
func (i Imports) String() string {
	text := "all of " + words.Counted(i.Expected, "message")
	if i.Left() > 0 {
		text = fmt.Sprintf("%s of %s", words.Grouped(i.Done), words.Counted(i.Expected, "message"))
	}
	if i.Left() > 0 && i.Lately > 0 {
		text += fmt.Sprintf(", %.3g/s", i.Lately)
	}
	if i.Left() > 0 && i.Remaining > 0 {
		text += ", about " + words.Duration(time.Duration(i.Remaining*float64(time.Second))) + " left"
	}
	var failed []string
	for _, c := range i.Failed {
		failed = append(failed, words.Grouped(c.Count)+" "+c.Name)
	}
	if len(failed) > 0 {
		text += ", failed: " + strings.Join(failed, ", ")
	}
	return text
}
