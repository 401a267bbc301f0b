package state

import (
	"crypto/rand"
	"maps"
	"slices"
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
	// showing is for how long pings come more often after another's state was seen that may mean nothing: by then an instance has shown
	// itself. One that has seen nothing does not hurry, or two could go on in step without seeing each other.
	showing = 2 * time.Minute
	// toldEvery bounds the lines about another instance.
	toldEvery = time.Hour
	// mostProcesses bounds the numbers that a state names: each instance stores its own anew within seconds of seeing another.
	mostProcesses = 8
)

// writer is who has written a state.
type writer struct {
	// folder is what the state names of whoever wrote it, "" for one that names none or cannot be read.
	folder string
	// processes are the numbers that the state names, that of the writer last; none in one of a connector that does not number.
	processes []string
	// commits is what the state counts, and ahead says that this is more than this process has stored or found.
	commits uint64
	ahead   bool
	// edited says that it is an operator's.
	edited bool
}

// number is that of the process, "" for none.
func (w writer) number() string {
	if len(w.processes) == 0 {
		return ""
	}
	return w.processes[len(w.processes)-1]
}

// intruder finds out whether another instance writes the connector's state, which the platform takes from whoever has the
// connector's id. It sees what the platform holds ahead of each ping, and each instance pings at least every 40 seconds.
//
// A state of somebody else is not always that of an instance that runs. It may be of a process before this one, whose last ping was long
// under way, or which storage that lags still shows; or of a backup. So each process draws a number, and its states name that and the
// numbers of those whose states it has seen, which comes to those that these have seen. A state that names this process, and that
// another one has written, is of one that has run since this one began, whatever folder it has: a process before was gone by then. Two
// that see each other's states in turn soon name each other.
//
// Connectors that name no numbers, and states that nothing of this explains, are told by their folder and by how often they come.
type intruder struct {
	log *zap.Logger

	own         string    // this instance's folder
	processes   []string  // the numbers that its states name, its own last
	predecessor string    // the folder of the state that was taken over
	since       time.Time // when that was
	settled     time.Time // when the first ping since then was answered: the platform has held a state of this instance; zero before
	suspect     suspect
	sighted     map[string]time.Time // when a state of each process was seen last, by its number
	told        time.Time            // when it was last said that there is another instance
	sights      int                  // of states of somebody else
	// soon is the pause until the next ping after a sight, 0 for the usual one. What may have come late is to be seen again, or not;
	// and the other instance is to see this one, which it never does where it always pings a moment later.
	soon atomic.Int64
}

// suspect is who has written a state that may have come late, or be that of a backup.
type suspect struct {
	folder, number string
	commits        uint64    // of the last that was seen
	seen, covered  time.Time // last, and when a ping was answered after that, zero before
	returns        int       // how often one was there again after it was covered
}

// is reports whether the suspect has written a state.
func (s suspect) is(w writer) bool {
	return s.folder == w.folder && s.number == w.number() && time.Since(s.seen) < latest
}

func newIntruder(folder string, log *zap.Logger) *intruder {
	return &intruder{log: log, own: folder, processes: []string{newNumber()}, sighted: make(map[string]time.Time)}
}

// newNumber draws the number of a process: 40 random bits.
func newNumber() string { return rand.Text()[:8] }

// number is that of this process.
func (i *intruder) number() string { return i.processes[len(i.processes)-1] }

// numbers are those that the next state names.
func (i *intruder) numbers() []string { return slices.Clone(i.processes) }

// adopt begins with a state that was taken over.
func (i *intruder) adopt(w writer) {
	i.meet(w)
	i.predecessor, i.since, i.settled = w.folder, time.Now(), time.Time{}
}

// answered says that a ping was answered.
func (i *intruder) answered() {
	if i.settled.IsZero() {
		i.settled = time.Now()
		if len(i.processes) > 1 {
			i.soon.Store(int64(lag)) // whose state was taken over may be there still, and always ping a moment later
		}
	}
	if i.suspect.covered.IsZero() {
		i.suspect.covered = time.Now()
	}
	if time.Since(i.suspect.seen) < showing {
		i.soon.CompareAndSwap(0, int64(lag))
	}
}

// wrote reports whether this process has written a state.
func (i *intruder) wrote(w writer) bool {
	return w.folder == i.own && w.number() == i.number()
}

// isMet reports whether a state is that of another process which has seen one of this process, and runs: one that was seen before, but
// not of late, has ended, for who runs pings; this is its state in a backup.
func (i *intruder) isMet(w writer) bool {
	last, known := i.sighted[w.number()]
	return (!known || time.Since(last) < latest) && !i.wrote(w) && slices.Contains(w.processes, i.number())
}

// meet notes the processes that a state names. Those that were seen last are kept.
func (i *intruder) meet(w writer) {
	own := i.number()
	known := append(without(i.processes, append(slices.Clone(w.processes), own)), without(w.processes, []string{own})...)
	i.processes = append(known[max(0, len(known)-mostProcesses+1):], own)
	i.sighted[w.number()] = time.Now()
	maps.DeleteFunc(i.sighted, func(number string, _ time.Time) bool { return !slices.Contains(i.processes, number) })
}

// becomeAnother draws another number, for a state of this process counts more than it has stored: a copy of it has written that, memory
// and all, or it did so itself before it was set back to an earlier moment.
func (i *intruder) becomeAnother() {
	i.processes = append(i.processes[max(0, len(i.processes)-mostProcesses+1):], newNumber())
}

// see looks at a state that the platform holds, and says so when another instance has written it.
func (i *intruder) see(w writer) {
	switch {
	case w.edited:
		return
	case i.wrote(w):
		if w.ahead {
			i.becomeAnother()
		}
		return
	case w.number() == "" && w.folder == i.own && !w.ahead:
		return // an earlier release of this connector stored it
	}
	met := i.isMet(w)
	i.meet(w)
	if !met && (i.settled.IsZero() || time.Since(i.settled) < lag) {
		return
	}
	if !met && i.mayBeLate(w) {
		i.soon.Store(int64(lag))
		return
	}
	i.soon.Store(int64(lag * time.Duration(1+i.sights%3))) // at another moment of the other's pace each time
	i.sights++
	i.tell(w, met)
}

// mayBeLate reports whether a process before this one may have written a state, in a ping that was long under way, or ahead of a backup
// that has lost nothing. Two processes do not share a folder, but one may have a copy of it.
func (i *intruder) mayBeLate(w writer) bool {
	young, returns := time.Since(i.since) < latest, i.suspected(w)
	before := w.number() != "" || w.folder == i.predecessor
	return returns == 0 && (w.folder == i.own || before && young)
}

// suspected notes that a state was seen which may mean nothing, and returns how often its writer's were there again since they were
// first covered. One that names the own folder and numbers has to have moved on: a backup may be restored as often as it takes.
func (i *intruder) suspected(w writer) (returns int) {
	s := &i.suspect
	if !s.is(w) {
		*s = suspect{folder: w.folder, number: w.number()}
	} else if !s.covered.IsZero() && time.Since(s.covered) >= lag {
		if w.commits > s.commits || w.folder != i.own || w.number() == "" {
			s.returns++
		}
		s.covered = time.Time{}
	}
	s.seen, s.commits = time.Now(), w.commits
	return s.returns
}

// goesOn reports whether a state that looks like that of a backup is one of several that the same process has stored meanwhile.
func (i *intruder) goesOn(w writer) bool {
	return i.isMet(w) || !i.wrote(w) && i.suspect.is(w) && i.suspect.returns > 0
}

// tell says that there is another instance.
func (i *intruder) tell(w writer, sure bool) {
	if !i.told.IsZero() && time.Since(i.told) < toldEvery {
		i.log.Debug("a state of another instance is covered once more")
		return
	}
	i.told = time.Now()
	text := "another instance with the same CONNECTOR_ID is writing the state in OpenCTI: objects are imported twice; " +
		"stop one of them, or give it a CONNECTOR_ID of its own"
	switch {
	case !sure:
		text += ". If there is none, OpenCTI was restored from a backup that this connector does not recognize: " +
			"CONNECTOR_REIMPORT=true brings back what it has lost"
	case w.folder == i.own:
		text += ". It has a copy of this one's CONNECTOR_STATE_DIR, as of a cloned machine or volume: give it an empty one, too"
	}
	i.log.Error(text)
}
