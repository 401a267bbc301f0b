package state

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"
	"pgregory.net/rapid"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

const intruded = "another instance with the same CONNECTOR_ID"

// delayed is the way of an instance to the platform: each call takes a while to get there, and its answer to come back.
type delayed struct {
	Platform
	delay func() (there, back time.Duration)
}

func (d delayed) Ping(ctx context.Context, text string) (Held, error) {
	there, back := d.delay()
	time.Sleep(there)
	defer time.Sleep(back)
	return d.Platform.Ping(ctx, text)
}

func (d delayed) ConnectorState(ctx context.Context) (Held, error) {
	there, back := d.delay()
	if err := remote.Wait(ctx, there); err != nil {
		return Held{}, err
	}
	defer time.Sleep(back)
	return d.Platform.ConnectorState(ctx)
}

// lateBy lets those of so many calls, over and over, come late whose bit is set, and the answers of the others.
func lateBy(bits, calls int) func() (there, back time.Duration) {
	var nth int
	return func() (time.Duration, time.Duration) {
		late := bits>>nth&1 == 1
		nth = (nth + 1) % calls
		if late {
			return 2 * time.Second, 0
		}
		return 0, 2 * time.Second
	}
}

// upTo draws how long calls take, there and back.
func upTo(longest time.Duration, seed uint64) func() (there, back time.Duration) {
	r := rand.New(rand.NewPCG(seed, 1))
	return func() (time.Duration, time.Duration) {
		return time.Duration(r.Int64N(int64(longest) + 1)), time.Duration(r.Int64N(int64(longest) + 1))
	}
}

// instance is one of two connectors with one id, each with a folder of its own.
type instance struct {
	*rig
	stop func()
	over chan struct{} // closed when its run is to end
	runs sync.WaitGroup
}

var lastFolder int

// start starts an instance; index nil stands for a new folder.
func start(t *testing.T, p *openctitest.Platform, index *folder, delay func() (there, back time.Duration)) *instance {
	if index == nil {
		lastFolder++
		index = &folder{name: " " + strconv.Itoa(lastFolder), number: 1000 * lastFolder}
	}
	p.ClearFaults()
	i := &instance{rig: join(t, p, index, "alerts", "iocs")}
	i.exchange.platform = delayed{i.exchange.platform, delay}
	if err := i.adopt(); err != nil {
		t.Fatal(err)
	}
	i.stop = i.beat()
	return i
}

// run begins a run that commits at a pace; 0 for one that commits nothing.
func (i *instance) run(pace time.Duration) {
	run, ctx := i.begin(), i.t.Context()
	over := make(chan struct{})
	i.over = over
	i.runs.Go(func() {
		if pace == 0 {
			<-over
			return
		}
		for n := 0; ; n++ {
			select {
			case <-over:
				return
			case <-time.After(pace):
			}
			_ = run.Commit(ctx, map[string]pipeline.Cursor{"iocs": within(strconv.Itoa(n))})
		}
	})
}

func (i *instance) endRun() {
	if i.over != nil {
		close(i.over)
		i.over = nil
		i.runs.Wait()
	}
}

func (i *instance) end() {
	i.endRun()
	i.stop()
}

// numbers are those of the processes that its states name; others take their place where there are some. No call is under way meanwhile.
func (i *instance) numbers(others ...string) (were []string) {
	i.exchange.turn <- struct{}{}
	defer func() { <-i.exchange.turn }()
	were = i.exchange.intruder.numbers()
	if len(others) > 0 {
		i.exchange.intruder.processes = others
	}
	return were
}

// said counts the lines about another instance.
func (i *instance) said() int {
	return i.log.FilterLevelExact(zapcore.ErrorLevel).FilterMessageSnippet(intruded).Len()
}

func at(d time.Duration) func() (time.Duration, time.Duration) {
	return func() (time.Duration, time.Duration) { return d, 0 }
}

// storage is what a platform tells of its state, and how far it is behind.
type storage struct {
	untimed bool
	lag     time.Duration // of searches
	pings   bool          // and of the answers to pings
}

var storages = []storage{{}, {lag: 4 * time.Second}, {lag: 4 * time.Second, pings: true}, {untimed: true}, {true, 4 * time.Second, false}, {true, 4 * time.Second, true}}

func (s storage) platform(t *testing.T) *openctitest.Platform {
	p := platform(t, openctitest.Config{NoStateTimestamp: s.untimed})
	p.Lag(s.lag, s.pings)
	return p
}

// twoPings is by when one of two instances has to have noticed the other: two times the pace of the heartbeat, and what the
// calls of two pings take.
func twoPings(call time.Duration) time.Duration { return 2*40*time.Second + 5*call + time.Second }

func TestOneOfTwoInstancesNoticesTheOtherWithinTwoPings(t *testing.T) {
	for _, s := range storages {
		// Each bit decides whether a call comes before or after the one that the other makes at the same time.
		const calls = 3
		for _, phase := range []time.Duration{0, 20 * time.Second, 37 * time.Second} {
			for _, old := range []bool{true, false} {
				for bits := range 1 << (2 * calls) {
					synctest.Test(t, func(t *testing.T) {
						p := s.platform(t)
						if old { // a state of an instance that is gone
							first := start(t, p, nil, at(0))
							first.run(time.Second)
							time.Sleep(3 * time.Second)
							first.end()
						}
						a := start(t, p, nil, lateBy(bits, calls))
						defer a.end()
						a.run(0)
						time.Sleep(phase)
						b := start(t, p, nil, lateBy(bits>>calls, calls))
						defer b.end()
						b.run(0)
						time.Sleep(twoPings(2 * time.Second))
						if a.said()+b.said() == 0 {
							t.Errorf("phase %s, old %t, order %b: nobody has noticed", phase, old, bits)
						}
						if a.said() > 1 || b.said() > 1 {
							t.Errorf("phase %s, old %t, order %b: said %d and %d times", phase, old, bits, a.said(), b.said())
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

func TestTwoInstancesNoticeEachOtherWhateverTheyDo(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := rapid.SampledFrom(storages).Draw(r, "storage")
		longest := rapid.SampledFrom([]time.Duration{0, time.Second, 20 * time.Second}).Draw(r, "longest call")
		events := rapid.SliceOfN(rapid.IntRange(0, 9), 4, 4).Draw(r, "events")
		phase := rapid.IntRange(0, 80).Draw(r, "phase")
		seed := rapid.Uint64().Draw(r, "delays")
		var failure string
		synctest.Test(t, func(t *testing.T) {
			fail := func(format string, args ...any) {
				if failure == "" {
					failure = fmt.Sprintf(format, args...)
				}
			}
			p := s.platform(t)
			begin := time.Now()
			paces := []time.Duration{0, 3 * time.Second, 30 * time.Second}
			change := func(i *instance, event int) {
				i.endRun()
				if event < 3*len(paces) {
					i.run(paces[event%len(paces)])
				}
			}
			a := start(t, p, nil, upTo(longest, seed))
			defer func() { a.end() }()
			a.run(paces[events[0]%len(paces)])
			time.Sleep(time.Duration(phase) * time.Second)
			b := start(t, p, nil, upTo(longest, seed+1))
			defer func() { b.end() }()
			b.run(paces[events[1]%len(paces)])
			time.Sleep(twoPings(2 * longest))
			if a.said()+b.said() == 0 {
				fail("nobody has noticed")
			}
			change(a, events[2])
			change(b, events[3])
			time.Sleep(15 * time.Minute)
			if a.said() == 0 || b.said() == 0 || a.said() > 1 || b.said() > 1 {
				fail("said %d and %d times within 15 minutes: %v; %v", a.said(), b.said(), a.log.All(), b.log.All())
			}
			a.endRun()
			b.endRun()
			time.Sleep(70 * time.Minute)
			most := 1 + int(time.Since(begin)/time.Hour) // the last commits of the runs can take a while
			if n, m := a.said(), b.said(); n > most || m > most || n+m < 3 {
				fail("said %d and %d times within %s", n, m, time.Since(begin))
			}
		})
		if failure != "" {
			r.Fatal(failure)
		}
	})
}

func TestASingleInstanceNeverTakesItselfForAnother(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := rapid.SampledFrom(storages).Draw(r, "storage")
		events := rapid.SliceOfN(rapid.IntRange(0, 13), 1, 12).Draw(r, "events")
		pauses := rapid.SliceOfN(rapid.SampledFrom([]int{0, 1, 3, 17, 50, 130}), len(events), len(events)).Draw(r, "pauses")
		var failure string
		synctest.Test(t, func(t *testing.T) {
			p := s.platform(t)
			i := start(t, p, nil, at(100*time.Millisecond))
			defer func() { i.end() }()
			i.run(3 * time.Second)
			restart := func(index *folder) {
				i.end()
				i = start(t, p, index, at(100*time.Millisecond))
				i.run(3 * time.Second)
			}
			var backup *openctitest.Snapshot
			var whose, folderBackup *folder
			for n, event := range events {
				time.Sleep(time.Duration(pauses[n]) * time.Second)
				before := i
				switch event {
				case 0: // stopped and started
					restart(i.index)
				case 1: // killed while its answers are lost
					loseAnswers(p)
					restart(i.index)
				case 2: // its folder is lost
					restart(nil)
				case 3: // both
					loseAnswers(p)
					restart(nil)
				case 4: // its last ping comes late, after the next process has begun, which may have lost the folder
					text, index := i.lateText(), i.index
					if n%2 == 1 {
						index = nil
					}
					restart(index)
					time.Sleep(time.Duration(1+7*n) * time.Second)
					p.SetState(text)
					time.Sleep(20 * time.Second)
				case 5:
					_ = p.Reset() // of a connector that was just deleted it is none
				case 6:
					if i.wrote(p.State()) { // that of a process with another folder is what README says
						s := p.Snapshot()
						backup, whose, folderBackup = &s, i.index, copyOf(i.index)
					}
				case 7:
					if backup != nil && whose == i.index {
						p.Restore(*backup)
					}
				case 8:
					p.StaleEcho(3)
				case 9:
					p.Fault(openctitest.Rule{To: 9, Do: openctitest.Status(502, "<html>")})
				case 10:
					i.endRun()
					i.run(0)
				case 11:
					if err := p.DeleteConnector(); err != nil {
						t.Fatal(err)
					}
				case 12: // it dies again and again with an empty folder, and a ping of each comes late
					texts := []string{i.lateText()}
					for range 2 {
						restart(nil)
						time.Sleep(time.Duration(5+n) * time.Second)
						texts = append(texts, i.lateText())
					}
					restart(nil)
					for _, text := range texts {
						time.Sleep(15 * time.Second)
						p.SetState(text)
					}
					time.Sleep(20 * time.Second)
				case 13: // its folder is restored from a backup
					if folderBackup != nil {
						restart(folderBackup)
						folderBackup = copyOf(folderBackup)
					}
				}
				if before.said() > 0 {
					failure = fmt.Sprintf("after %v: %v", events[:n+1], before.log.All())
					return
				}
			}
			time.Sleep(2 * time.Minute)
			i.endRun()
			time.Sleep(15 * time.Minute)
			if i.said() > 0 {
				failure = fmt.Sprintf("after %v: %v", events, i.log.All())
			}
		})
		if failure != "" {
			r.Fatal(failure)
		}
	})
}

// loseAnswers lets some pings be stored and their answers be lost.
func loseAnswers(p *openctitest.Platform) {
	p.Fault(openctitest.Rule{Operation: "pingConnector", To: 3, Do: openctitest.DropAnswer})
	time.Sleep(8 * time.Second)
}

// wrote reports whether a state names the instance's folder.
func (i *instance) wrote(text string) bool {
	return strings.Contains(text, strconv.Quote(i.index.Folder()))
}

// lateText is the state that a ping under way carries when the process is killed: with a commit that the index has not counted.
func (i *instance) lateText() string {
	i.Keeper.mu.Lock()
	doc := i.doc.clone()
	i.Keeper.mu.Unlock()
	doc.commits += 2
	doc.folder, doc.processes = i.index.Folder(), i.numbers()
	return doc.text()
}

func TestStorageThatLagsIsNoReset(t *testing.T) {
	for _, s := range storages {
		synctest.Test(t, func(t *testing.T) {
			p := s.platform(t)
			i := start(t, p, nil, at(0))
			time.Sleep(time.Second / 2) // the search does not find yet what the first ping has stored
			i.run(time.Second)
			time.Sleep(5 * time.Minute)
			i.end()
			i.expectResets(0)
		})
	}
}

// TestAnImportThatHasBroughtNothingBeginsWhereItIsToldTo changes the import start before anything was delivered.
func TestAnImportThatHasBroughtNothingBeginsWhereItIsToldTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		r.begin()
		r.beatOnce()
		if isNothing(r.platform.State()) {
			t.Error("the state does not say whose it is")
		}
		for starts := range 3 {
			again := join(t, r.platform, r.index, "alerts", "iocs")
			again.starts = starts
			if err := again.adopt(); err != nil {
				t.Fatal(err)
			}
			if c := again.begin().Cursor("iocs"); !c.Since.Equal(importStart.AddDate(0, 0, starts)) || again.warned(restored) {
				t.Errorf("start %d: it begins at %v: %v", starts, c.Since, again.log.All())
			}
			again.beatOnce()
		}
	})
}

func TestAnInstanceThatAlwaysPingsJustAfterTheOtherSeesItToo(t *testing.T) {
	for phase := range 10 {
		synctest.Test(t, func(t *testing.T) {
			p := storage{lag: 4 * time.Second}.platform(t)
			a := start(t, p, nil, at(0))
			defer a.end()
			a.run(0)
			time.Sleep(time.Duration(phase) * time.Second)
			b := start(t, p, nil, at(0))
			defer b.end()
			b.run(30 * time.Second)
			time.Sleep(15 * time.Minute)
			if a.said() != 1 || b.said() != 1 {
				t.Errorf("phase %d: said %d and %d times", phase, a.said(), b.said())
			}
		})
	}
}

func TestALatePingOfTheProcessBeforeIsNotAnotherInstance(t *testing.T) {
	for _, lost := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			p := storage{}.platform(t)
			before := start(t, p, nil, at(0))
			before.run(3 * time.Second)
			time.Sleep(time.Minute)
			text, index := before.lateText(), before.index
			before.end()
			if lost {
				index = nil
			}
			i := start(t, p, index, at(0))
			defer i.end()
			time.Sleep(time.Minute)
			p.SetState(text)
			time.Sleep(time.Hour)
			if i.said() > 0 {
				t.Errorf("the folder is lost: %t; %v", lost, i.log.All())
			}
		})
	}
}

// TestALatePingOfAnyProcessBeforeIsNotAnotherInstance lets a process die whose last ping is long under way, and others after it, each
// without the folder of the one before.
func TestALatePingOfAnyProcessBeforeIsNotAnotherInstance(t *testing.T) {
	for _, between := range []int{0, 1, 3} {
		for _, seen := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				p := storage{}.platform(t)
				i := start(t, p, nil, at(0))
				time.Sleep(time.Minute)
				var texts []string
				for range 1 + between {
					texts = append(texts, i.lateText())
					i.end()
					i = start(t, p, nil, at(0))
					if seen { // else its pings are all under way
						time.Sleep(12 * time.Second)
					}
				}
				defer i.end()
				for _, text := range texts {
					time.Sleep(time.Minute)
					p.SetState(text)
				}
				time.Sleep(time.Hour)
				if i.said() > 0 {
					t.Errorf("%d processes between, seen %t: %v", between, seen, i.log.All())
				}
			})
		}
	}
}

// TestASecondInstanceDoesNotCoverTheStateOfTheFirstWithNothing lets both register while there is no state, and the second wait for
// something else before its first run.
func TestASecondInstanceDoesNotCoverTheStateOfTheFirstWithNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := storage{}.platform(t)
		first := start(t, p, nil, at(0))
		defer first.end()
		second := join(t, p, &folder{name: "another"}, "alerts", "iocs")
		if err := second.adopt(); err != nil {
			t.Fatal(err)
		}
		first.run(3 * time.Second)
		time.Sleep(30 * time.Second)
		stop := second.beat()
		defer stop()
		time.Sleep(2 * time.Minute)
		if voids := first.backups + first.resetsSeen(); voids > 0 || first.errorsLogged() == 0 {
			t.Errorf("the first one's run was void %d times: %v", voids, first.log.All())
		}
	})
}
