//go:build linux

package endtoend

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// soakTrouble is something that goes wrong around a connector: it begins and, where it lasts, ends.
type soakTrouble struct {
	name  string
	begin func(l *soakLife)
	end   func(l *soakLife) // nil where it is a moment
}

// apiAlways meets every call.
func apiAlways(do threatmatchtest.Fault) func(*soakLife) {
	return func(l *soakLife) { l.api.Fault(threatmatchtest.Rule{Path: "/api/*", From: 1, To: -1, Do: do}) }
}

func platformAlways(do openctitest.Do) func(*soakLife) {
	return func(l *soakLife) { l.platform.Fault(openctitest.Rule{From: 1, To: -1, Do: do}) }
}

func apiWell(l *soakLife)      { l.api.ClearFaults() }
func platformWell(l *soakLife) { l.platform.ClearFaults() }

var soakTroubles = []soakTrouble{
	{"ThreatMatch refuses", func(l *soakLife) { l.apiSite.shut() }, func(l *soakLife) { l.apiSite.open() }},
	{"ThreatMatch is slow", apiAlways(threatmatchtest.Slow(2 * time.Second)), apiWell},
	{"ThreatMatch takes calls and does not answer", apiAlways(threatmatchtest.Slow(time.Hour)), apiWell},
	{"ThreatMatch is behind a proxy without it", apiAlways(threatmatchtest.Status(502)), apiWell},
	{"ThreatMatch has had enough", apiAlways(threatmatchtest.RetryAfter("2")), apiWell},
	{"ThreatMatch answers oddly", (*soakLife).answerOddly, apiWell},
	{"ThreatMatch answers oddly", (*soakLife).answerOddly, apiWell},
	{"OpenCTI refuses", func(l *soakLife) { l.platformSite.shut() }, func(l *soakLife) { l.platformSite.open() }},
	{"OpenCTI is slow", platformAlways(openctitest.Slow(3 * time.Second)), platformWell},
	{"OpenCTI takes calls and does not answer", platformAlways(openctitest.Slow(time.Hour)), platformWell},
	{"OpenCTI has no database", platformAlways(openctitest.GraphQLError("DATABASE_ERROR", "the database is away")), platformWell},
	{"OpenCTI answers oddly", (*soakLife).platformErrs, platformWell},
	{"OpenCTI shows what was", func(l *soakLife) { l.platform.Lag(4*time.Second, l.rng.IntN(2) == 0) }, func(l *soakLife) { l.platform.Lag(0, false) }},
	{"OpenCTI repeats a former state", func(l *soakLife) { l.platform.StaleEcho(1 + l.rng.IntN(3)) }, nil},
	{"the broker refuses", func(l *soakLife) { l.wire.refuse(true) }, func(l *soakLife) { l.wire.refuse(false) }},
	{"the wire to the broker is dead", func(l *soakLife) { l.wire.freeze() }, func(l *soakLife) { l.wire.thaw() }},
	{"the wire to the broker is cut", func(l *soakLife) { l.wire.cut() }, nil},
	{"imports fail", (*soakLife).failImports, nil},
	{"imports fail", (*soakLife).failImports, nil},
	{"a work is deleted", (*soakLife).deleteWork, nil},
	{"an operator resets the connector", (*soakLife).reset, nil},
	{"the disk is full", func(l *soakLife) { l.disk.fill() }, func(l *soakLife) { l.disk.empty() }},
	{"the clock of ThreatMatch steps", (*soakLife).stepClock, nil},
}

// suffer lets one or two troubles come, for some seconds or a minute, and go.
func (l *soakLife) suffer() {
	lasting := time.Duration(1+l.rng.IntN(20)) * time.Second
	if l.rng.IntN(6) == 0 {
		lasting *= 4
	}
	ends := map[string]func(*soakLife){}
	for range 1 + l.rng.IntN(2) {
		trouble := pick(l.rng, soakTroubles)
		if ends[trouble.name] != nil {
			continue
		}
		l.record.note(trouble.name)
		trouble.begin(l)
		if trouble.end != nil {
			ends[trouble.name] = trouble.end
		}
	}
	if len(ends) > 0 {
		time.Sleep(lasting)
	}
	for _, end := range ends {
		end(l)
	}
}

func (l *soakLife) answerOddly() {
	names := slices.Sorted(maps.Keys(apiFaults))
	paths := []string{"/api/profiles/all", "/api/alerts/all", "/api/stix/*", "/api/taxii/*", "/api/*"}
	for range 3 {
		from := 1 + l.rng.IntN(15)
		l.api.Fault(threatmatchtest.Rule{Path: pick(l.rng, paths), From: from, To: from + l.rng.IntN(4), Do: apiFaults[pick(l.rng, names)]})
	}
}

func (l *soakLife) platformErrs() {
	names := slices.Sorted(maps.Keys(platformFaults))
	for range 3 {
		l.platform.Fault(openctitest.Rule{Operation: pick(l.rng, platformOperations), From: 1, To: 1 + l.rng.IntN(3), Do: platformFaults[pick(l.rng, names)]})
	}
}

// failImports lets workers fail for reasons that pass.
func (l *soakLife) failImports() {
	passing := [][2]string{{"LOCK_ERROR", "Execution timeout"}, {"", "502 Bad gateway"}, {"MISSING_REFERENCE_ERROR", "Element(s) not found"}, {"DATABASE_ERROR", "no"}}
	why := pick(l.rng, passing)
	l.platform.FailImports(openctitest.Failure{Times: 1 + l.rng.IntN(20), Name: why[0], Message: why[1]})
}

// deleteWork deletes one of the last works, as an operator can.
func (l *soakLife) deleteWork() {
	if works := l.platform.Works(); len(works) > 0 {
		l.workers.deleteWork(works[max(0, len(works)-1-l.rng.IntN(3))].ID)
	}
}

// stepClock moves the clock by minutes, but never further than the overlap of two passes makes good for.
func (l *soakLife) stepClock() {
	const far = 4 * time.Minute
	l.source.stepClock(func() { l.offset.Store(int64(time.Duration(l.rng.Int64N(int64(2*far))) - far)) })
}

// soakDisk is a file system of a fixed size. A nil one has no end.
type soakDisk struct {
	t   *testing.T
	dir string
}

// newSoakDisk mounts a file system, nil where nobody may.
func newSoakDisk(t *testing.T) *soakDisk {
	t.Helper()
	const size = 64 << 20
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Logf("the disk is never full: no file system can be mounted here: %v", err)
		return nil
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return &soakDisk{t, dir}
}

func (d *soakDisk) filling() string { return filepath.Join(d.dir, "filling") }

// fill leaves no room.
func (d *soakDisk) fill() {
	if d == nil {
		return
	}
	f, err := os.Create(d.filling())
	if err != nil {
		d.t.Error(err)
		return
	}
	defer f.Close()
	for room := make([]byte, 64<<10); ; {
		if _, err := f.Write(room); err != nil {
			return // it is full
		}
	}
}

// empty gives the room back.
func (d *soakDisk) empty() {
	if d == nil {
		return
	}
	if err := os.Remove(d.filling()); err != nil {
		d.t.Error(err)
	}
}
