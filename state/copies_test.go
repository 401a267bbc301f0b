package state

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// copyOf is what a cloned machine or volume has of a folder.
func copyOf(f *folder) *folder {
	return &folder{name: f.name, counter: f.Counter(), number: f.currentNumber()}
}

func (f *folder) currentNumber() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.number
}

// twoPingsOfCopies is by when one of two copies has to have noticed the other: one may first make sure that there is no backup.
func twoPingsOfCopies(call time.Duration) time.Duration { return twoPings(call) + looks*call }

// imported is a folder of a connector that has imported something and is gone.
func imported(t *testing.T, s storage, commits int) (*instance, *folder) {
	first := start(t, s.platform(t), nil, at(0))
	first.run(time.Second)
	time.Sleep(time.Duration(commits)*time.Second + time.Second/2)
	first.end()
	return first, first.index
}

func TestOneOfTwoCopiesNoticesTheOtherWithinTwoPings(t *testing.T) {
	const calls = 3
	for _, s := range []storage{{}, {lag: 4 * time.Second, pings: true}} {
		for _, phase := range []time.Duration{0, 20 * time.Second, 37 * time.Second} { // of a second one that starts later, whose folder is a copy of before or of then
			for _, pace := range []time.Duration{0, 7 * time.Second} {
				for bits := range 1 << (2 * calls) {
					synctest.Test(t, func(t *testing.T) {
						first, folder := imported(t, s, 3)
						copied := copyOf(folder)
						a := start(t, first.platform, folder, lateBy(bits, calls))
						defer a.end()
						a.run(pace)
						time.Sleep(phase)
						if bits%2 == 1 {
							copied = copyOf(folder)
						}
						b := start(t, first.platform, copied, lateBy(bits>>calls, calls))
						defer b.end()
						b.run(0)
						time.Sleep(twoPingsOfCopies(2 * time.Second))
						if a.said()+b.said() == 0 || a.backups > 1 || b.backups > 1 {
							t.Errorf("phase %s, pace %s, order %b: said %d and %d times, took the other's for a backup %d and %d times",
								phase, pace, bits, a.said(), b.said(), a.backups, b.backups)
						}
					})
					if t.Failed() {
						t.Fatalf("%+v", s)
					}
				}
			}
		}
	}
}

// TestTwoCopiesNoticeEachOtherAndGoOn lets two run beside each other for a while, be killed and started again: they say so, and neither
// begins its index again and again.
func TestTwoCopiesNoticeEachOtherAndGoOn(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := rapid.SampledFrom(storages).Draw(r, "storage")
		longest := rapid.SampledFrom([]time.Duration{0, time.Second, 5 * time.Second}).Draw(r, "longest call")
		paces := rapid.SliceOfN(rapid.SampledFrom([]time.Duration{0, 3 * time.Second, 30 * time.Second}), 4, 4).Draw(r, "paces")
		phase := rapid.IntRange(0, 80).Draw(r, "phase")
		late := rapid.Bool().Draw(r, "copied while it runs")
		killed := rapid.Bool().Draw(r, "killed")
		seed := rapid.Uint64().Draw(r, "delays")
		var failure string
		synctest.Test(t, func(t *testing.T) {
			fail := func(format string, args ...any) {
				if failure == "" {
					failure = fmt.Sprintf(format, args...)
				}
			}
			first, folder := imported(t, s, 5)
			copied := copyOf(folder)
			a := start(t, first.platform, folder, upTo(longest, seed))
			defer func() { a.end() }()
			a.run(paces[0])
			time.Sleep(time.Duration(phase) * time.Second)
			if late {
				copied = copyOf(folder)
			}
			b := start(t, first.platform, copied, upTo(longest, seed+1))
			defer func() { b.end() }()
			b.run(paces[1])
			time.Sleep(twoPingsOfCopies(2 * longest))
			if a.said()+b.said() == 0 {
				fail("nobody has noticed")
			}
			if killed {
				b.end()
				b = start(t, first.platform, copied, upTo(longest, seed+2))
				b.run(paces[2])
			}
			a.endRun()
			a.run(paces[3])
			time.Sleep(12 * time.Minute)
			if a.said() != 1 || b.said() != 1 {
				fail("said %d and %d times: %v; %v", a.said(), b.said(), a.log.All(), b.log.All())
			}
			if a.backups > 2 || b.backups > 2 {
				fail("took the other's state for a backup %d and %d times", a.backups, b.backups)
			}
		})
		if failure != "" {
			r.Fatal(failure)
		}
	})
}

// TestAMachineThatIsClonedWithItsMemoryIsAnotherInstance lets two go on as the same process.
func TestAMachineThatIsClonedWithItsMemoryIsAnotherInstance(t *testing.T) {
	for _, pace := range []time.Duration{3 * time.Second, 25 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			first, folder := imported(t, storage{}, 3)
			a := start(t, first.platform, folder, at(0))
			defer a.end()
			time.Sleep(11 * time.Minute)
			b := start(t, first.platform, copyOf(folder), at(time.Millisecond))
			defer b.end()
			// As if it were no process of its own.
			b.numbers(a.numbers()...)
			time.Sleep(5 * time.Second)
			b.run(pace)
			time.Sleep(2 * twoPings(time.Second))
			if a.said()+b.said() == 0 {
				t.Errorf("nobody has noticed: %v; %v", a.log.All(), b.log.All())
			}
			a.run(pace)
			time.Sleep(30 * time.Minute)
			if a.said() != 1 || b.said() != 1 || a.backups+b.backups > 2 {
				t.Errorf("said %d and %d times, %d and %d backups", a.said(), b.said(), a.backups, b.backups)
			}
		})
	}
}

// TestAMachineThatIsSetBackIsNotAnotherInstance restores folder and memory of a moment before.
func TestAMachineThatIsSetBackIsNotAnotherInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, folder := imported(t, storage{}, 3)
		before := start(t, first.platform, folder, at(0))
		before.run(3 * time.Second)
		snapshot, processes := copyOf(folder), before.numbers()
		time.Sleep(time.Minute)
		before.end()
		i := start(t, first.platform, snapshot, at(0))
		defer i.end()
		i.numbers(processes...)
		i.run(3 * time.Second)
		time.Sleep(time.Hour)
		if i.said() > 0 || i.backups > 0 {
			t.Errorf("%v", i.log.All())
		}
	})
}

// OpenCTI is restored from a backup that was made while a second instance, which has been stopped since, took turns with this one.
func TestABackupThatAStoppedInstanceWroteIsOne(t *testing.T) {
	for _, copied := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			first, folder := imported(t, storage{}, 3)
			second := copyOf(folder)
			if !copied {
				second = nil
			}
			a := start(t, first.platform, folder, at(0))
			defer a.end()
			a.run(7 * time.Second)
			time.Sleep(20 * time.Second)
			b := start(t, first.platform, second, at(0))
			b.run(5 * time.Second)
			time.Sleep(5 * time.Minute)
			numbers := b.numbers()
			for !strings.Contains(first.platform.State(), numbers[len(numbers)-1]+`"]`) {
				time.Sleep(time.Second)
			}
			backup := first.platform.Snapshot()
			b.end()
			time.Sleep(3 * time.Hour)
			said, backups := a.log.Len(), a.backups
			first.platform.Restore(backup)
			time.Sleep(10 * time.Minute)
			hint := false
			for _, l := range a.log.All()[said:] {
				hint = hint || strings.Contains(l.Message, "backup")
			}
			if !hint && a.backups == backups {
				t.Errorf("copied %t: nothing says that OpenCTI was restored from a backup, and nothing is imported again", copied)
			}
		})
	}
}
