package endtoend

import (
	"maps"
	"slices"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
)

// simulatedBackup is a backup of OpenCTI, with what the simulation knew when it was made.
type simulatedBackup struct {
	made         time.Time
	platform     openctitest.Snapshot
	arrived      map[string][]arrivedVersion
	unsaid       map[string]string
	failed       map[string]bool
	resetPending bool
}

// backUp makes a backup. The queue is not a part of it.
func (s *simulation) backUp() {
	s.note("OpenCTI is backed up")
	b := s.workers.backUp()
	b.resetPending = s.resetPending.Load()
	s.backups = append(s.backups, b)
}

// restore puts a backup back, after some time in which nobody reaches OpenCTI.
func (s *simulation) restore(b simulatedBackup, away time.Duration) {
	s.note("OpenCTI is away for %s, and then as of %s", away, b.made.Format(stepTime))
	s.platform.Fault(openctitest.Rule{From: 1, To: -1, Do: openctitest.Until(time.Now().Add(away), openctitest.Refuse)})
	time.Sleep(away - time.Millisecond)
	s.workers.restore(b)
	s.restored = true
	s.forgetWorks()
	s.resetPending.Store(b.resetPending)
	s.known.lookAgain(s.platform)
	time.Sleep(time.Millisecond)
}

// lookAgain goes by what OpenCTI holds after it was restored.
func (k *foreignKnowledge) lookAgain(platform *openctitest.Platform) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, id := range foreign {
		if _, known := k.since[id]; platform.Holds(id) && !known {
			k.since[id] = time.Now()
		} else if !platform.Holds(id) {
			delete(k.since, id)
		}
	}
}

// backUp makes a backup between two imports.
func (w *simulatedWorkers) backUp() simulatedBackup {
	w.importing.Lock()
	defer w.importing.Unlock()
	return simulatedBackup{made: time.Now(), platform: w.platform.Snapshot(), arrived: w.arrivals.clone(), unsaid: maps.Clone(w.unsaid), failed: maps.Clone(w.failed)}
}

// restore puts a backup back between two imports. What was imported since is lost, and so is what lay in the queue when it
// was made and does not any more.
func (w *simulatedWorkers) restore(b simulatedBackup) {
	w.importing.Lock()
	defer w.importing.Unlock()
	w.platform.Restore(b.platform)
	w.unsaid, w.failed = maps.Clone(b.unsaid), maps.Clone(b.failed)
	for work := range w.byWork {
		w.dead[work] = true
	}
	for _, work := range w.platform.Works() {
		w.dead[work.ID] = work.Deleted
	}
	maps.Copy(w.unclear, w.dead)
	now := w.arrivals.clone()
	arrived := map[string][]arrivedVersion{}
	for id := range now {
		arrived[id] = slices.DeleteFunc(slices.Clone(b.arrived[id]), func(v arrivedVersion) bool { return !v.through })
		for _, v := range now[id] {
			switch {
			case w.dead[v.work]:
			case !v.through:
				arrived[id] = append(arrived[id], v)
			case !slices.Contains(arrived[id], v):
				// The connector cannot know more than that its work does not complete.
				arrived[id] = append(arrived[id], v)
				w.restored[id] = v.work
			}
		}
		w.histories[id] += "; OpenCTI restored at " + time.Now().Format(stepTime)
	}
	w.arrivals.set(arrived)
}

// restoredWork is the work of an object that was lost when OpenCTI was restored, "" where there was none.
func (w *simulatedWorkers) restoredWork(id string) string {
	w.importing.Lock()
	defer w.importing.Unlock()
	return w.restored[id]
}

func (a *arrivals) clone() map[string][]arrivedVersion {
	a.mu.Lock()
	defer a.mu.Unlock()
	versions := maps.Clone(a.versions)
	for id := range versions {
		versions[id] = slices.Clone(versions[id])
	}
	return versions
}

func (a *arrivals) set(versions map[string][]arrivedVersion) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.versions = versions
}
