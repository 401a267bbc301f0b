package emit

import (
	"time"

	"github.com/opencti-connectors/threatmatch/state/index"
)

// trust says how far the index is believed. It knows what was confirmed; whether OpenCTI still holds that is another
// matter: an operator or a retention rule deletes objects, and workers drop the messages of a work that was deleted.
type trust struct {
	// days is how many days old a record may be before OpenCTI is asked, 0 for never.
	days int
	// run is the one under way: what it has sent need not be imported yet. The same goes for those that are importing.
	run       uint32
	importing map[uint32]bool
	// doubted are the runs of which OpenCTI may not have imported everything.
	doubted map[uint32]bool
	today   index.Day
	anew    bool // see [Config.Anew]
	// blind says that OpenCTI refuses to say what it holds.
	blind bool
}

type belief uint8

const (
	disbelieved belief = iota
	uncertain          // OpenCTI has to be asked
	believed
)

func newTrust(c Config) *trust {
	const day = 24 * time.Hour
	t := &trust{days: int((c.VerifyAfter + day - 1) / day), run: c.Run, importing: c.Importing, doubted: c.Doubted, anew: c.Anew, blind: c.Platform == nil}
	t.tell(time.Now())
	return t
}

// tell sets the day.
func (t *trust) tell(now time.Time) { t.today = index.DayOf(now) }

// asReference says whether others may refer to the object of a record.
func (t *trust) asReference(r index.Record) belief {
	switch {
	case r.Mark == index.Lost, r.Mark == index.Refused:
		return disbelieved
	case t.doubted[r.Run]:
		return t.ask(disbelieved)
	case t.isOld(r):
		return t.ask(believed)
	}
	return believed
}

// isOld says that a record is due to be verified.
func (t *trust) isOld(r index.Record) bool {
	// Where the day has just changed a record of yesterday can be a minute old, and what it stands for not imported yet.
	const least = 2
	return t.days > 0 && !r.Addition && int(r.Day)+max(least, t.days) <= int(t.today) && r.Run != t.run && !t.importing[r.Run]
}

// asSent says whether what a record stands for need not be sent again.
func (t *trust) asSent(r index.Record) belief {
	switch {
	case t.anew && r.Run != t.run:
		return disbelieved
	case r.Mark == index.Refused:
		return believed
	case t.doubted[r.Run]:
		return disbelieved // what OpenCTI holds may be an earlier version, or another connector's
	}
	return t.asReference(r)
}

// ask is uncertain, or what is right where nobody answers.
func (t *trust) ask(unanswered belief) belief {
	if t.blind {
		return unanswered
	}
	return uncertain
}
