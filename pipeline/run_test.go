package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestEverythingThatIsReadIsDeliveredAndCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var put, ticks atomic.Int64
		to := sink{
			put: func(_ context.Context, _ Item, objects []Object, settled func(Outcome)) error {
				put.Add(int64(len(objects)))
				time.Sleep(10 * time.Millisecond)
				settled(Delivered)
				return nil
			},
			tick: func(context.Context) error { ticks.Add(1); return nil },
		}
		two := transformer(func(Item) ([]Object, error) { return make([]Object, 2), nil })
		kept := &store{}
		report := Run(t.Context(), Config{}, []Source{pages("alerts", 300, 0), pages("iocs", 40, 50*time.Millisecond)}, two, to, kept)
		if err := report.Failure(); err != nil {
			t.Error(err)
		}
		if put.Load() != 680 || ticks.Load() < 10 {
			t.Errorf("%d objects, %d ticks", put.Load(), ticks.Load())
		}
		if d := report.Datasets["alerts"]; d.Items != 300 || d.Pages != 301 || d.Err != nil {
			t.Errorf("report: %+v", d)
		}
		for _, name := range []string{"alerts", "iocs"} {
			if c := kept.last(name); after(c) != "end" {
				t.Errorf("%s: committed %s", name, show(c))
			}
		}
	})
}

func TestOpeningAPageWaitsForAnEarlierOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var handed atomic.Int64
		from := source{"iocs", func(_ context.Context, _ Cursor, yield func(Page, error) bool) {
			for n := 1; ; n++ {
				handed.Add(1)
				if !yield(page("iocs", n, 2), nil) {
					return
				}
			}
		}}
		var mu sync.Mutex
		var waiting []func(Outcome)
		to := sink{put: func(_ context.Context, _ Item, _ []Object, settled func(Outcome)) error {
			mu.Lock()
			defer mu.Unlock()
			waiting = append(waiting, settled)
			return nil
		}}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan Report)
		go func() { done <- Run(ctx, Config{OpenPages: 3, Transformers: 1}, []Source{from}, plain{}, to, &store{}) }()
		synctest.Wait()
		// What the channel between the stages holds has nothing to do with it: the pages are open.
		if n := handed.Load(); n != 4 {
			t.Errorf("%d pages were read with none settled, want 3 and one that waits", n)
		}
		for i, want := range []int64{4, 5, 5, 6} {
			mu.Lock()
			settled := waiting[i]
			mu.Unlock()
			settled(Parked) // an item that is parked holds nobody back
			synctest.Wait()
			if n := handed.Load(); n != want {
				t.Errorf("%d pages were read with %d items parked, want %d", n, i+1, want)
			}
		}
		stop()
		<-done
	})
}

func TestWhatIsBetweenTheStagesIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var handed, transformed atomic.Int64
		from := source{"iocs", func(_ context.Context, _ Cursor, yield func(Page, error) bool) {
			for n := 1; ; n++ {
				handed.Add(1)
				if !yield(page("iocs", n, 1), nil) {
					return
				}
			}
		}}
		to := sink{put: func(ctx context.Context, _ Item, _ []Object, _ func(Outcome)) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}}
		count := transformer(func(Item) ([]Object, error) { transformed.Add(1); return nil, nil })
		ctx, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		done := make(chan Report)
		go func() {
			done <- Run(ctx, Config{OpenPages: 1e6, Transformers: 4}, []Source{from}, count, to, &store{})
		}()
		time.Sleep(time.Minute)
		if h, tr := handed.Load(), transformed.Load(); h > 140 || tr > 70 {
			t.Errorf("while the sink takes nothing %d items were read and %d transformed", h, tr)
		}
		<-done
	})
}

func TestASourceThatFailsEndsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := source{"alerts", func(_ context.Context, _ Cursor, yield func(Page, error) bool) {
			if yield(page("alerts", 1, 2), nil) {
				yield(Page{}, errBroken)
			}
		}}
		var told End = -1
		to := sink{finish: func(_ context.Context, end End) error { told = end; return nil }}
		kept := &store{}
		report := Run(t.Context(), Config{}, []Source{bad, pages("iocs", 200, 100*time.Millisecond)}, plain{}, to, kept)
		if after(kept.last("iocs")) != "end" || after(kept.last("alerts")) != "1" {
			t.Errorf("committed %s and %s", show(kept.last("iocs")), show(kept.last("alerts")))
		}
		if err := report.Failure(); !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "alerts") || report.Err != nil {
			t.Errorf("failure %v, ended by %v", err, report.Err)
		}
		if told != Partial {
			t.Errorf("the sink was told of end %d", told)
		}
	})
}

func TestCommitsOfARunUnderWayKeepTheirDistance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		kept := &store{}
		Run(t.Context(), Config{CommitEvery: 3 * time.Second}, []Source{pages("iocs", 300, 100*time.Millisecond)}, plain{}, sink{}, kept)
		if n := len(kept.commits); n < 10 || n > 12 {
			t.Errorf("%d commits in 30 s", n)
		}
		for i, c := range kept.commits[:len(kept.commits)-1] {
			if i > 0 && c.when.Sub(kept.commits[i-1].when) < 3*time.Second {
				t.Errorf("commit %d came %s after the one before", i, c.when.Sub(kept.commits[i-1].when))
			}
		}
		if first := kept.commits[0].when.Sub(begin); first > time.Second {
			t.Errorf("the first commit came after %s", first)
		}
	})
}

func TestASlowCommitSkipsTheCursorsInBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		under := 0
		kept := &store{before: func(ctx context.Context, _ map[string]Cursor) error {
			if under++; under > 1 {
				t.Error("two commits at a time")
			}
			defer func() { under-- }()
			if !pause(ctx, 10*time.Second) {
				return ctx.Err()
			}
			return nil
		}}
		report := Run(t.Context(), Config{}, []Source{pages("iocs", 300, 100*time.Millisecond)}, plain{}, sink{}, kept)
		if err := report.Failure(); err != nil || after(kept.last("iocs")) != "end" || len(kept.commits) > 5 {
			t.Errorf("%d commits up to %s, failure %v", len(kept.commits), show(kept.last("iocs")), err)
		}
		if n, _ := strconv.Atoi(after(kept.commits[1].cursors["iocs"])); n < 100 {
			t.Errorf("the second commit is of page %d, 13 s after the first", n)
		}
	})
}

func TestACommitThatFailsIsMadeGoodByTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts := 0
		kept := &store{before: func(context.Context, map[string]Cursor) error {
			if attempts++; attempts <= 2 {
				return errBroken
			}
			return nil
		}}
		// Nothing moves after the first second: what was not committed must come again by itself.
		quiet := source{"iocs", func(ctx context.Context, _ Cursor, yield func(Page, error) bool) {
			if yield(page("iocs", 1, 1), nil) && pause(ctx, time.Minute) {
				yield(page("iocs", 2, 1), errBroken)
			}
		}}
		begin := time.Now()
		Run(t.Context(), Config{CommitEvery: 3 * time.Second}, []Source{quiet}, plain{}, sink{}, kept)
		if len(kept.commits) == 0 {
			t.Fatal("nothing was committed")
		}
		if first := kept.commits[0]; after(first.cursors["iocs"]) != "1" || first.when.Sub(begin) > 7*time.Second {
			t.Errorf("%s was committed after %s", show(first.cursors["iocs"]), first.when.Sub(begin))
		}
	})
}

func TestALastCommitThatFailsFailsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := &store{before: func(context.Context, map[string]Cursor) error { return errBroken }}
		report := Run(t.Context(), Config{}, []Source{pages("iocs", 3, 0)}, plain{}, sink{}, kept)
		if !errors.Is(report.Failure(), errBroken) {
			t.Errorf("failure %v", report.Failure())
		}
	})
}

// hung is a commit that the platform never answers.
func hung(ctx context.Context, _ map[string]Cursor) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func TestAPlatformThatHangsDoesNotHoldAFinishedRunForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		report := Run(t.Context(), Config{}, []Source{pages("iocs", 3, time.Second)}, plain{}, sink{}, &store{before: hung})
		if took := time.Since(begin); report.Failure() == nil || took > 3*time.Minute {
			t.Errorf("the run took %s and ended with %v", took, report.Failure())
		}
	})
}

func TestAStopIsHeardDuringTheLastCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, when := range []time.Duration{10 * time.Second, 70 * time.Second} { // the committer's last, then the run's
			ctx, cancel := context.WithTimeout(t.Context(), when)
			Run(ctx, Config{}, []Source{pages("iocs", 3, time.Second)}, plain{}, sink{}, &store{before: hung})
			deadline, _ := ctx.Deadline()
			if late := time.Since(deadline); late > 7*time.Second {
				t.Errorf("stopped after %s, the run took %s more", when, late)
			}
			cancel()
		}
	})
}

func TestAStoppedRunSettlesAndCommitsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var confirms sync.WaitGroup
		var told End = -1
		to := sink{
			put: func(_ context.Context, _ Item, _ []Object, settled func(Outcome)) error {
				confirms.Go(func() { time.Sleep(2 * time.Second); settled(Delivered) })
				return nil
			},
			finish: func(_ context.Context, end End) error { told = end; confirms.Wait(); return nil },
		}
		ctx, stop := context.WithTimeout(t.Context(), 10050*time.Millisecond)
		defer stop()
		kept := &store{}
		from := pages("iocs", 1e6, 100*time.Millisecond)
		report := Run(ctx, Config{}, []Source{from}, plain{}, to, kept)
		n, _ := strconv.Atoi(after(kept.last("iocs")))
		if n < 98 || n != report.Datasets["iocs"].Items {
			t.Errorf("committed up to page %d of %d", n, report.Datasets["iocs"].Items)
		}
		if !errors.Is(report.Failure(), context.DeadlineExceeded) || told != Interrupted {
			t.Errorf("failure %v, end %d", report.Failure(), told)
		}
	})
}

func TestTheLastCommitHasTheTimeThatSettlingDidNotNeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(ctx context.Context, _ map[string]Cursor) error {
			if !pause(ctx, 3*time.Second) {
				return context.Cause(ctx)
			}
			return nil
		}
		kept := &store{before: slow}
		// The second page comes when the first is committed and the next commit is not due.
		from := source{"iocs", func(ctx context.Context, _ Cursor, yield func(Page, error) bool) {
			if yield(page("iocs", 1, 1), nil) && pause(ctx, 4*time.Second) && yield(page("iocs", 2, 1), nil) {
				<-ctx.Done()
				yield(Page{}, ctx.Err())
			}
		}}
		ctx, stop := context.WithTimeout(t.Context(), 5*time.Second)
		defer stop()
		report := Run(ctx, Config{CommitEvery: 3 * time.Second, Grace: 4 * time.Second}, []Source{from}, plain{}, sink{}, kept)
		if got := after(kept.last("iocs")); got != "2" {
			t.Errorf("a platform that answers after three seconds was told of %q: %v", got, report.Failure())
		}
	})
}

func TestAStoppedRunEndsWithinTenSecondsWhateverHangs(t *testing.T) {
	stuck := func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
	for name, to := range map[string]sink{
		"nothing": {},
		"put": {put: func(ctx context.Context, _ Item, _ []Object, _ func(Outcome)) error {
			return stuck(ctx)
		}},
		"tick":     {tick: stuck},
		"finish":   {finish: func(ctx context.Context, _ End) error { return stuck(ctx) }},
		"carry":    {carry: func(ctx context.Context, _ string, _ func(Outcome)) error { return stuck(ctx) }},
		"confirms": {put: func(context.Context, Item, []Object, func(Outcome)) error { return nil }},
		"mapping":  {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from := "1"
				resumed := at("5")
				resumed.Pass.KeptFrom = &from
				kept := &store{before: hung, start: map[string]Cursor{"iocs": resumed}}
				begin := time.Now()
				ctx, stop := context.WithCancelCause(t.Context())
				time.AfterFunc(20*time.Second, func() { stop(errors.New("received a signal")) })
				var mapper Transformer = plain{}
				if name == "mapping" {
					mapper = hanging{}
				}
				report := Run(ctx, Config{}, []Source{pages("iocs", 1e6, 10*time.Millisecond)}, mapper, to, kept)
				if late := time.Since(begin) - 20*time.Second; late > 7*time.Second {
					t.Errorf("the run ended %s after the stop", late)
				}
				if err := report.Failure(); err == nil || !strings.Contains(err.Error(), "received a signal") {
					t.Errorf("failure %v", err)
				}
			})
		})
	}
}

func TestAVoidRunCommitsNothingMore(t *testing.T) {
	void := fmt.Errorf("reset by an operator: %w", ErrAbandon)
	for _, by := range []string{"the caller", "the sink", "the commit"} {
		t.Run(by, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancelCause(t.Context())
				defer stop(nil)
				begin := time.Now()
				var voided atomic.Bool
				var confirms sync.WaitGroup
				to := sink{
					put: func(_ context.Context, _ Item, _ []Object, settled func(Outcome)) error {
						if time.Since(begin) > 20*time.Second && by != "the commit" && !voided.Swap(true) {
							if by == "the sink" {
								return void
							}
							stop(void)
							time.Sleep(3 * time.Second) // busy with the disk; the last confirms come in
						}
						confirms.Go(func() { time.Sleep(time.Second); settled(Delivered) })
						return nil
					},
					finish: func(ctx context.Context, _ End) error { <-ctx.Done(); return context.Cause(ctx) },
				}
				kept := &store{before: func(context.Context, map[string]Cursor) error {
					if voided.Load() {
						t.Errorf("a commit %s after the begin, although the run is void", time.Since(begin))
					}
					if by == "the commit" && time.Since(begin) > 20*time.Second {
						voided.Store(true)
						stop(void) // as an operator's reset does that the commit meets
						return void
					}
					return nil
				}}
				report := Run(ctx, Config{}, []Source{pages("iocs", 600, 100*time.Millisecond)}, plain{}, to, kept)
				took := time.Since(begin)
				confirms.Wait()
				if !errors.Is(report.Err, ErrAbandon) || !errors.Is(report.Failure(), ErrAbandon) {
					t.Errorf("the run ended with %v", report.Err)
				}
				if took > 24*time.Second || kept.count() < 5 {
					t.Errorf("it went on for %s and committed %d times", took, kept.count())
				}
			})
		})
	}
}

func TestWhatAnEarlierRunKeptIsNotASourcesBusiness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		three := "3"
		resumed := at("7")
		resumed.Pass.KeptFrom = &three
		from := source{"iocs", func(_ context.Context, from Cursor, yield func(Page, error) bool) {
			pass := *from.Pass // a source goes on with the pass that it was given
			pass.After = "8"
			yield(Page{Items: []Item{{Dataset: "iocs", ID: "8"}}, Next: Cursor{Since: from.Since, Pass: &pass}}, nil)
		}}
		var carried []string
		to := sink{carry: func(_ context.Context, dataset string, settled func(Outcome)) error {
			carried = append(carried, dataset)
			settled(Delivered)
			return nil
		}}
		kept := &store{start: map[string]Cursor{"iocs": resumed}}
		Run(t.Context(), Config{}, []Source{from}, plain{}, to, kept)
		if got, want := show(kept.last("iocs")), show(at("8")); got != want || len(carried) != 1 {
			t.Errorf("committed %s, want %s; carried %v", got, want, carried)
		}
	})
}

func TestASinkThatFailsEndsTheRunAndWhatWasDeliveredIsCommitted(t *testing.T) {
	for name, fail := range map[string]func(*sink){
		"put": func(s *sink) {
			s.put = func(_ context.Context, item Item, _ []Object, settled func(Outcome)) error {
				if item.ID == "50.0" {
					return errBroken
				}
				settled(Delivered)
				return nil
			}
		},
		"tick": func(s *sink) {
			n := 0
			s.tick = func(context.Context) error {
				if n++; n == 40 {
					return errBroken
				}
				return nil
			}
		},
		"finish": func(s *sink) { s.finish = func(context.Context, End) error { return errBroken } },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var to sink
				fail(&to)
				kept := &store{}
				report := Run(t.Context(), Config{}, []Source{pages("iocs", 200, 200*time.Millisecond)}, plain{}, to, kept)
				if !errors.Is(report.Failure(), errBroken) || !errors.Is(report.Err, errBroken) {
					t.Errorf("failure %v", report.Failure())
				}
				last := after(kept.last("iocs"))
				if n, _ := strconv.Atoi(last); name == "put" && last != "49" || name == "tick" && (n < 48 || n > 51) || name == "finish" && last != "end" {
					t.Errorf("committed up to %s", last)
				}
			})
		})
	}
}

func TestWhatCannotBeTransformedIsCountedAndStillSettles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		put := 0
		to := sink{put: func(_ context.Context, _ Item, objects []Object, settled func(Outcome)) error {
			put += len(objects)
			settled(Delivered)
			return nil
		}}
		picky := transformer(func(i Item) ([]Object, error) {
			switch i.ID {
			case "1.0":
				return nil, errBroken
			case "2.0":
				return make([]Object, 3), errors.Join(errBroken, errBroken)
			}
			return make([]Object, 1), nil
		})
		kept := &store{}
		report := Run(t.Context(), Config{}, []Source{pages("iocs", 3, 0)}, picky, to, kept)
		if report.LeftOut.Total() != 3 || report.LeftOut[Unreadable] != 3 {
			t.Errorf("left out: %v", report.LeftOut)
		}
		if d := report.Datasets["iocs"]; d.Rejected != 3 || put != 4 || report.Failure() != nil || after(kept.last("iocs")) != "end" {
			t.Errorf("%d rejected, %d delivered, failure %v, committed %s", d.Rejected, put, report.Failure(), show(kept.last("iocs")))
		}
	})
}

func TestAProblemOfAPageMakesARunFailThatIsCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := source{"alerts", func(_ context.Context, _ Cursor, yield func(Page, error) bool) {
			yield(Page{Next: ended(), Problems: []Problem{{ID: "17", Err: errBroken}, {ID: "18", Err: errors.New("other")}}}, nil)
		}}
		kept := &store{}
		report := Run(t.Context(), Config{}, []Source{from}, plain{}, sink{}, kept)
		d := report.Datasets["alerts"]
		if err := report.Failure(); !errors.Is(err, errBroken) || d.Problems != 2 || d.Err != nil || after(kept.last("alerts")) != "end" {
			t.Errorf("failure %v, report %+v, committed %s", err, d, show(kept.last("alerts")))
		}
	})
}

func TestARunFailsUnlessAllWasRead(t *testing.T) {
	signal := errors.New("received a signal")
	for name, tt := range map[string]struct {
		report Report
		want   []string
	}{
		"all was read":   {Report{Datasets: map[string]*DatasetReport{"iocs": {Items: 7, Rejected: 3}}}, nil},
		"a dataset":      {Report{Datasets: map[string]*DatasetReport{"iocs": {Err: errBroken}}}, []string{"import iocs: broken"}},
		"a part":         {Report{Datasets: map[string]*DatasetReport{"iocs": {Problems: 2, FirstProblem: errBroken}}}, []string{"2 parts", "broken"}},
		"stopped":        {Report{Err: signal, Datasets: map[string]*DatasetReport{"iocs": {Err: context.Canceled}}}, []string{"received a signal"}},
		"cut by its own": {Report{Datasets: map[string]*DatasetReport{"iocs": {Err: fmt.Errorf("read: %w", context.Canceled)}}}, []string{"import iocs"}},
		"in order": {Report{Datasets: map[string]*DatasetReport{"c": {Err: errBroken}, "a": {Err: errBroken}, "b": {Err: errBroken}}},
			[]string{"import a: broken\nimport b: broken\nimport c: broken"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.report.Failure()
			if (err == nil) != (tt.want == nil) {
				t.Fatalf("Failure() = %v", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("Failure() = %v, want %q in it", err, want)
				}
			}
			if name == "stopped" && strings.Contains(err.Error(), "import") {
				t.Errorf("Failure() = %v", err)
			}
		})
	}
}
