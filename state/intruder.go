package state

import (
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	// lag is longer than storage shows an older state than it has: what is seen later than this after a ping is what somebody
	// has stored since.
	lag = looks * pause
	// latest is for how long a ping may be under way that a proxy, or a platform that hangs, keeps.
	latest = 10 * time.Minute
	// toldEvery bounds the lines about another instance.
	toldEvery = time.Hour
)

// writer is who has written a state.
type writer struct {
	ours bool
	// folder is what the state names of whoever wrote it, "" for one that names none or cannot be read.
	folder string
}

// intruder finds out whether another instance writes the connector's state, which the platform takes from whoever has the
// connector's id. It sees what the platform holds ahead of each ping, and each instance pings at least every 40 seconds.
//
// A state of somebody else is not always that of an instance that runs. The process before this one may have stored it, and the
// platform, whose storage lags, shows it until the first ping of this one is through. Or the last ping of that process was long
// under way: a state that can be that one's counts only when it shows up again ten seconds after a ping of ours was answered.
type intruder struct {
	log *zap.Logger

	own         string    // this instance's folder
	predecessor string    // the folder of the state that was taken over
	since       time.Time // when that was
	settled     time.Time // when the first ping since then was answered: the platform has held a state of this instance; zero before
	sighted     bool      // a state that may have come late was seen
	covered     time.Time // when a ping was answered after that, zero before
	told        time.Time // when it was last said that there is another instance
	sights      int       // of states of somebody else
	// soon is the pause until the next ping after a sight, 0 for the usual one. What may have come late is to be seen again, or not;
	// and the other instance is to see this one, which it never does where it always pings a moment later.
	soon atomic.Int64
}

// adopt begins with a state that was taken over.
func (i *intruder) adopt(w writer) {
	i.predecessor, i.since, i.settled, i.sighted, i.covered = w.folder, time.Now(), time.Time{}, false, time.Time{}
}

// answered says that a ping was answered.
func (i *intruder) answered() {
	if i.settled.IsZero() {
		i.settled = time.Now()
	}
	if i.sighted && i.covered.IsZero() {
		i.covered = time.Now()
	}
}

// see looks at a state that the platform holds, and says so when another instance has written it.
func (i *intruder) see(w writer) {
	switch {
	case w.ours, i.settled.IsZero(), time.Since(i.settled) < lag:
		return
	}
	i.soon.Store(int64(lag * time.Duration(1+i.sights%3))) // at another moment of the other's pace each time
	i.sights++
	switch {
	case i.mayBeLate(w) && (i.covered.IsZero() || time.Since(i.covered) < lag):
		i.sighted = true
		return
	case !i.told.IsZero() && time.Since(i.told) < toldEvery:
		i.log.Debug("a state of another instance is covered once more")
		return
	}
	i.told = time.Now()
	i.log.Error("another instance with the same CONNECTOR_ID is writing the state in OpenCTI: objects are imported twice; " +
		"stop one of them, or give it a CONNECTOR_ID of its own. If there is none, OpenCTI was restored from a backup that " +
		"this connector does not recognize: CONNECTOR_REIMPORT=true brings back what it has lost")
}

// mayBeLate reports whether the process before this one may have written a state, in a ping that was long under way. Two
// processes do not share a folder, but one may have a copy of it.
func (i *intruder) mayBeLate(w writer) bool {
	return w.folder == i.own || w.folder == i.predecessor && time.Since(i.since) < latest
}
