package emit

import (
	"sync/atomic"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// TooLarge is the reason for which an emitter leaves objects out; [Account.Refused] is how many.
const TooLarge pipeline.Reason = "too large for the queue"

// Account is what an emitter did, for the closing of the work, the log and the metrics.
type Account struct {
	Messages  int64 // published, each object once
	Confirmed int64
	Repeated  int64 // copies of what the run has sent, or is about to
	Known     int64 // delivered by an earlier run with the same content, or a newer one
	Refused   int64 // too large for a message
	Cleaned   int64 // sent without references that nothing brings
	Held      int64 // not sent, because nothing brings an end of the relation
	Cut       int64 // references taken away to break a cycle
	Evicted   int64 // objects that had to give way on the shelf
	Refitted  int64 // relations sent under a type that OpenCTI takes in place of their own
	Lost      int64 // delivered before, and not at OpenCTI any more
	Filtered  int64 // relations of which a filter has left out an end
	Broken    int64 // the mapping panicked over them, so that they went not at all, or without what copies add to them
	Barred    int64 // copies that are not marked too strictly themselves, as another of their version is
	Parked    int   // waiting at this moment
}

// counters are an [Account] under way: the feeding goroutine counts while others look.
type counters struct {
	messages, confirmed, repeated, known, refused, cleaned, held, cut, evicted, refitted, lost, filtered, barred, broken, parked atomic.Int64
}

func (c *counters) account() Account {
	return Account{
		Messages: c.messages.Load(), Confirmed: c.confirmed.Load(), Repeated: c.repeated.Load(), Known: c.known.Load(),
		Refused: c.refused.Load(), Cleaned: c.cleaned.Load(), Held: c.held.Load(), Cut: c.cut.Load(),
		Evicted: c.evicted.Load(), Refitted: c.refitted.Load(), Lost: c.lost.Load(),
		Filtered: c.filtered.Load(), Barred: c.barred.Load(), Broken: c.broken.Load(), Parked: int(c.parked.Load()),
	}
}
