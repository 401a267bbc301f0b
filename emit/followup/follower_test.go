package followup

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
	"github.com/opencti-connectors/threatmatch/transform"
)

const (
	malware = `{"type":"malware","id":"malware--1","modified":"2020-01-01T00:00:00Z","name":"m","x_opencti_id":"alt","n":1.50}`
	note    = `{"type":"note","id":"note--1","modified":"2020-01-01T00:00:00Z","object_refs":["malware--1"]}`
)

func TestWhatBecomesOfAFailedImport(t *testing.T) {
	for name, tt := range map[string]struct {
		failure openctitest.Failure
		known   func(*index.Record) // what the index knows besides; nil for what the run has left
		mark    index.Mark
		tries   uint8
		again   bool
		named   int
	}{
		"it passes":             {failure: openctitest.Failure{Name: "LOCK_ERROR"}, mark: index.Lost, tries: 1, again: true},
		"a page of a proxy":     {failure: openctitest.Failure{Message: "<html>502</html>"}, mark: index.Lost, tries: 1, again: true},
		"it is not known":       {failure: openctitest.Failure{Name: "OF_TOMORROW"}, mark: index.Lost, tries: 1, again: true},
		"the third time":        {failure: openctitest.Failure{Name: "LOCK_ERROR"}, known: func(r *index.Record) { r.Tries = 2 }, mark: index.Lost, tries: 3, again: true},
		"the fourth time":       {failure: openctitest.Failure{Name: "LOCK_ERROR"}, known: func(r *index.Record) { r.Tries = 3 }, mark: index.Refused, tries: 3, named: 1},
		"it is final":           {failure: openctitest.Failure{Name: "VALIDATION_ERROR"}, mark: index.Refused, named: 1},
		"refused before":        {failure: openctitest.Failure{Name: "VALIDATION_ERROR"}, known: func(r *index.Record) { r.Mark = index.Refused }, mark: index.Refused},
		"sent by a later run":   {failure: openctitest.Failure{Name: "LOCK_ERROR"}, known: func(r *index.Record) { r.Run++ }},
		"sent anew in this run": {failure: openctitest.Failure{Name: "LOCK_ERROR"}, known: func(r *index.Record) { r.Modified++ }},
		"verified meanwhile":    {failure: openctitest.Failure{Name: "LOCK_ERROR"}, known: func(r *index.Record) { r.Run = 0 }, mark: index.Lost, tries: 1, again: true},
		"lost, and not on disk": {failure: openctitest.Failure{Name: "LOCK_ERROR"}, known: func(r *index.Record) { r.Mark = index.Lost }, mark: index.Lost, tries: 1, again: true},
		"the index has lost it": {failure: openctitest.Failure{Name: "LOCK_ERROR"}, known: func(r *index.Record) { *r = index.Record{} }, mark: index.Lost, tries: 1, again: true},
		"imported":              {failure: openctitest.Failure{ID: "other"}},
		"too many references":   {failure: openctitest.Failure{Message: "Too large element in bundle"}, mark: index.Refused, named: 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			o := object(t, malware)
			r.platform.FailImports(tt.failure)
			r.deliver(o)
			if tt.known != nil {
				for _, id := range []string{o.ID, o.AltID} {
					rec := r.record(id)
					tt.known(&rec)
					r.index.Put(index.KeyOf(id), rec)
				}
			}
			r.close()
			found := r.look()
			if (found.Again > 0) != tt.again || r.named() != tt.named {
				t.Errorf("found %+v, named %d", found, r.named())
			}
			for _, id := range []string{o.ID, o.AltID} {
				if rec := r.record(id); rec.Mark != tt.mark || (rec.Tries != tt.tries && tt.mark != index.Delivered) {
					t.Errorf("of %s the index knows %+v", id, rec)
				}
			}
			w, there, err := r.index.Waiting().Get(o.ID)
			if err != nil || there != tt.again {
				t.Fatalf("on the shelf: %t, %v", there, err)
			}
			if rec := r.record(o.ID); there && (w.Kind != index.Unimported || string(w.Object.JSON) != malware || w.Object.Digest != rec.Digest || w.Object.AltID != "alt") {
				t.Errorf("on the shelf is %+v, the index knows %+v", w, rec)
			}
			counts := r.Counts()
			if counts.Failed != int64(tt.named) || (counts.Again > 0) != tt.again || counts.Open != 0 || (len(r.keeper.Works()) > 0) != tt.again {
				t.Errorf("counted %+v", counts)
			}
			r.sendAgain()
			if r.look(); len(r.keeper.Works()) > 0 {
				t.Error("the work is not done with")
			}
			for _, line := range r.logs.All() {
				if strings.Contains(fmt.Sprint(line.Context), `"n":1.50`) {
					t.Errorf("the log shows the whole object: %v", line)
				}
			}
		})
	}
}

func TestWhatTheShelfHasWholeIsSentWhole(t *testing.T) {
	older, newer := `{"type":"note","id":"note--1","modified":"2019-01-01T00:00:00Z","object_refs":["a","b"]}`, `{"type":"note","id":"note--1","modified":"2021-01-01T00:00:00Z"}`
	whole := `{"type":"note","id":"note--1","modified":"2020-01-01T00:00:00Z","object_refs":["malware--1","malware--2"]}`
	for name, tt := range map[string]struct {
		on   string
		kind index.WaiterKind
		want string
	}{
		"cleaned": {whole, index.Cleaned, whole}, "to be sent already": {whole, index.Unimported, whole}, "an older version": {older, index.Cleaned, note},
		"a newer one": {newer, index.HeldBack, newer},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.platform.Hold("malware--1")
			r.platform.FailImports(openctitest.Failure{Name: "LOCK_ERROR"})
			_, err := r.index.Waiting().Save(t.Context(), []index.Waiter{{Object: object(t, tt.on), Missing: []string{"malware--2"}, Kind: tt.kind, Dataset: "alerts"}})
			must(t, err)
			r.deliver(object(t, note))
			r.close()
			r.look()
			w, _, err := r.index.Waiting().Get("note--1")
			must(t, err)
			if string(w.Object.JSON) != tt.want || w.Kind != index.Unimported || (len(w.Missing) > 0) != (tt.want != note) {
				t.Errorf("on the shelf is %s, %+v", w.Object.JSON, w)
			}
		})
	}
}

// A copy without its author has the digest of the whole one. Put back under it, the author would be lost for good.
func TestACopyThatWentOnceMoreWithWhatItLackedIsNotPutBack(t *testing.T) {
	r := newRig(t)
	const author = "identity--1"
	r.platform.Hold(author)
	r.platform.FailImports(openctitest.Failure{ID: "malware--1", Name: "LOCK_ERROR", Times: 2})
	poorer := object(t, `{"type":"malware","id":"malware--1","modified":"2020-01-01T00:00:00Z","name":"m"}`)
	whole := object(t, `{"type":"malware","id":"malware--1","modified":"2020-01-01T00:00:00Z","name":"m","created_by_ref":"identity--1"}`)
	r.deliver(poorer)
	r.index.Put(index.KeyOf("malware--1"), index.Record{Digest: 42, Run: run, Seq: 1, Modified: whole.Modified.UnixMicro(), Refs: 1}) // the whole one is in the queue
	if found := r.look(); found.Again != 0 || r.record("malware--1").Mark == index.Lost {
		t.Errorf("the poorer copy is sent again: %+v", found)
	}
	r.deliver(whole)
	if found := r.look(); found.Again != 1 {
		t.Errorf("the whole one is not: %+v", found)
	}
	w, _, err := r.index.Waiting().Get("malware--1")
	must(t, err)
	if !slices.Equal(w.Object.Refs, []string{author}) {
		t.Errorf("it is sent again with %q", w.Object.Refs)
	}
}

func TestWhatFailsForWantOfAnotherDoesNotUseUpItsAttempts(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare func(*rig)
		tries   uint8 // of the note
		mark    index.Mark
	}{
		"the other failed":           {func(r *rig) { r.platform.FailImports(openctitest.Failure{ID: "malware--1", Name: "LOCK_ERROR"}) }, 0, index.Lost},
		"the other is refused":       {func(r *rig) { r.platform.FailImports(openctitest.Failure{ID: "malware--1", Name: "VALIDATION_ERROR"}) }, 0, index.Refused},
		"OpenCTI has lost the other": {func(r *rig) { r.deliver(object(r.t, malware)); r.platform.Remove("malware--1") }, 0, index.Lost},
		"OpenCTI holds the other": {func(r *rig) {
			r.platform.FailImports(openctitest.Failure{ID: "note--1", Name: "MISSING_REFERENCE_ERROR"})
		}, 1, index.Delivered},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			tt.prepare(r)
			if name != "OpenCTI has lost the other" {
				r.deliver(object(t, malware))
			}
			r.deliver(object(t, note))
			r.close()
			r.look()
			if rec := r.record("note--1"); rec.Mark != index.Lost || rec.Tries != tt.tries {
				t.Errorf("of the note the index knows %+v", rec)
			}
			if rec := r.record("malware--1"); rec.Mark != tt.mark {
				t.Errorf("of the other it knows %+v", rec)
			}
		})
	}
}

func TestACopyThatMayLackReferencesGoesWithoutADigest(t *testing.T) {
	for name, know := range map[string]func(*index.Record){
		"it was sent without some":                  func(r *index.Record) { r.Cut = 1 },
		"the broker had not confirmed this version": func(r *index.Record) { r.Modified-- },
		"the index was lost":                        func(r *index.Record) { *r = index.Record{} },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.platform.FailImports(openctitest.Failure{Name: "LOCK_ERROR"})
			o := object(t, note)
			r.deliver(o)
			rec := r.record(o.ID)
			know(&rec)
			r.index.Put(index.KeyOf(o.ID), rec)
			r.close()
			r.look()
			if w, there, err := r.index.Waiting().Get(o.ID); err != nil || !there || w.Object.Digest != 0 {
				t.Errorf("on the shelf: %t, %v, digest %d", there, err, w.Object.Digest)
			}
		})
	}
}

func TestWhatIsSentAgainIsRememberedByTheStateUntilItWent(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, r *rig){
		"the folder is lost": func(t *testing.T, r *rig) { must(t, os.RemoveAll(r.dir)) },
		"the shelf is lost": func(t *testing.T, r *rig) {
			must(t, os.WriteFile(filepath.Join(r.dir, "waiting.log"), []byte("?"), 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.platform.FailImports(openctitest.Failure{Name: "LOCK_ERROR"})
			r.deliver(object(t, malware))
			r.close()
			must(t, r.keeper.Begin(t.Context(), run+1).Commit(t.Context(), map[string]pipeline.Cursor{"alerts": {Since: time.Unix(100, 0)}}))
			r.look()
			must(t, r.keeper.Closed(t.Context(), "")) // OpenCTI holds the state
			must(t, r.index.Close())
			lose(t, r)
			r.start()
			found := r.look()
			on, err := r.isOnShelf(object(t, malware))
			fetched := r.keeper.Begin(t.Context(), run+2).Cursor("alerts").Since.Equal(time.Unix(0, 0))
			if err != nil || on == fetched || on != (found.Again == 1) {
				t.Fatalf("found %+v, on the shelf: %t, fetched again: %t, %v", found, on, fetched, err)
			}
			r.sendAgain()
			if r.look(); len(r.keeper.Works()) > 0 {
				t.Error("the work is remembered for ever")
			}
		})
	}
}

func TestALostFolderBringsNoOlderVersionBack(t *testing.T) {
	r := newRig(t)
	r.platform.FailImports(openctitest.Failure{ID: "malware--1", Name: "LOCK_ERROR", Times: 1})
	r.platform.FailImports(openctitest.Failure{ID: "malware--2", Name: "LOCK_ERROR", Times: 2})
	version := func(day string) pipeline.Object {
		return object(t, `{"type":"malware","id":"malware--1","name":"m","modified":"2020-01-`+day+`T00:00:00Z"}`)
	}
	other := object(t, `{"type":"malware","id":"malware--2","name":"m","modified":"2020-01-01T00:00:00Z"}`)
	r.deliver(version("01"), other)
	r.close()
	r.look()
	work, err := r.client.AddWork(t.Context(), "the next run")
	must(t, err)
	next := r.keeper.Begin(t.Context(), run+1)
	must(t, next.Opened(t.Context(), work))
	r.sendAgain()
	r.work = work
	r.deliver(version("02"), other)
	for _, o := range []pipeline.Object{version("02"), other} {
		rec := r.record(o.ID)
		rec.Run = run + 1
		r.index.Put(index.KeyOf(o.ID), rec)
	}
	must(t, next.Commit(t.Context(), map[string]pipeline.Cursor{"alerts": {Since: version("03").Modified}}))
	r.close()
	r.look()
	must(t, r.keeper.Closed(t.Context(), ""))
	must(t, r.index.Close())
	must(t, os.RemoveAll(r.dir))
	r.start()
	r.look()
	if w, there, _ := r.index.Waiting().Get("malware--1"); there && strings.Contains(string(w.Object.JSON), "2020-01-01") {
		t.Error("the version of the first is sent again over that of the second")
	}
}

func TestAWorkThatIsDoneWithIsNotConcludedAgain(t *testing.T) {
	start := func(t *testing.T, renewed bool) *rig {
		r := newRig(t)
		for _, id := range []string{"malware--1", "malware--2"} {
			r.platform.FailImports(openctitest.Failure{ID: id, Name: "LOCK_ERROR"})
		}
		r.NoteLarge(run)([]string{"malware--2"})
		r.deliver(object(t, malware), largeObject(t, 2))
		if renewed {
			rec := r.record("malware--2")
			rec.Mark = index.Renewed
			r.index.Put(index.KeyOf("malware--2"), rec)
			r.platform.Hold("malware--2")
		}
		r.close()
		return r
	}
	t.Run("nor named", func(t *testing.T) {
		r := start(t, true)
		for range 5 {
			r.look()
		}
		if n := r.logs.FilterLevelExact(zapcore.ErrorLevel).Len(); n != 1 || r.Counts().Failed != 1 {
			t.Errorf("%d lines, %d counted", n, r.Counts().Failed)
		}
	})
	t.Run("nor doubted once all went again", func(t *testing.T) {
		r := start(t, false)
		r.look()
		r.sendAgain()
		for _, id := range []string{"malware--1", "malware--2"} {
			r.index.Put(index.KeyOf(id), index.Record{Digest: 42, Run: run + 1, Seq: 1, Mark: index.Renewed})
		}
		r.platform.Hold("malware--2")
		if r.look(); r.keeper.Doubted()[run] {
			t.Error("it is doubted")
		}
	})
	t.Run("nor taken back when it is deleted", func(t *testing.T) {
		r := start(t, false)
		r.look()
		r.platform.DeleteWork(r.work)
		if r.look().Deleted {
			t.Error("its run is taken back")
		}
	})
}

func TestAnErrorIsWorkedOffOnceWhateverCrashes(t *testing.T) {
	for name, crash := range map[string]bool{"the state was stored": false, "it was not": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.platform.FailImports(openctitest.Failure{ID: "malware--1", Name: "LOCK_ERROR"})
			r.platform.FailImports(openctitest.Failure{ID: "malware--2", Name: "VALIDATION_ERROR"})
			r.deliver(object(t, malware), object(t, strings.ReplaceAll(strings.ReplaceAll(malware, "malware--1", "malware--2"), `"alt"`, `"alt2"`)))
			must(t, r.client.AddExpectations(t.Context(), r.work, 1)) // so that it does not complete
			r.close()
			if found := r.look(); found.Again != 1 || r.named() != 1 {
				t.Fatalf("found %+v, named %d", found, r.named())
			}
			if !crash {
				must(t, r.keeper.Closed(t.Context(), r.work)) // stores the state
			}
			r.crash()
			if works := r.keeper.Works(); len(works) != 1 || (works[0].Errors == 2) == crash {
				t.Errorf("the next process knows of %+v", works)
			}
			if found := r.look(); found.Again != 0 || r.named() != 0 {
				t.Errorf("found %+v, named %d", found, r.named())
			}
			if rec := r.record("malware--1"); rec.Tries != 1 || rec.Mark != index.Lost || r.index.Waiting().Unimported() != 1 {
				t.Errorf("the index knows %+v", rec)
			}
		})
	}
}

func TestAWorkIsAskedForEveryMinuteAndGivenUpAfterSevenDays(t *testing.T) {
	for name, fault := range map[string]openctitest.Do{
		"it does not complete": nil, "OpenCTI refuses": openctitest.GraphQLError("FORBIDDEN_ACCESS", "no"), "OpenCTI is away": openctitest.Status(502, "<html>"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				must(t, r.client.AddExpectations(t.Context(), r.work, 1))
				r.close()
				r.platform.SetQueue(1, 1000)
				hits := r.platform.Fault(openctitest.Rule{Operation: "work", To: -1, Do: openctitest.Slow(0)})
				if fault != nil {
					r.platform.Fault(openctitest.Rule{Operation: "work", To: -1, Do: fault})
				}
				began := time.Now()
				for time.Since(began) < time.Hour {
					_, _ = r.Look(t.Context(), false)
					time.Sleep(20 * time.Second)
				}
				const repeated = 4 // by the client, where OpenCTI is away
				if most := int(time.Hour/LookEvery) + 1; hits() > most*repeated || (name != "OpenCTI is away" && hits() > most) {
					t.Errorf("asked %d times", hits())
				}
				for len(r.keeper.Works()) > 0 && time.Since(began) < 8*24*time.Hour {
					_, _ = r.Look(t.Context(), false)
					time.Sleep(time.Hour)
				}
				if took := time.Since(began); took < givenUp || took > givenUp+2*time.Hour {
					t.Errorf("given up after %s", took)
				}
				if lines := r.logs.FilterLevelExact(zapcore.WarnLevel).Len(); lines > 1 {
					t.Errorf("%d warnings", lines)
				}
				if lines := r.logs.FilterLevelExact(zapcore.ErrorLevel); lines.Len() != 1 || lines.FilterMessageSnippet("for seven days").Len() != 1 {
					t.Errorf("said at error: %v", lines.All())
				}
				if r.keeper.Doubted()[run] != (fault == nil) {
					t.Errorf("the state is %s", r.keeper.Text())
				}
			})
		})
	}
}

func TestAWorkThatCannotBeFollowedKeepsNothingElseFromBeingDone(t *testing.T) {
	const inquiry = "stixObjectOrStixRelationships"
	for name, tt := range map[string]struct {
		fails func(*rig) (hits func() int)
	}{
		"OpenCTI fails to tell of it": {func(r *rig) func() int {
			return r.platform.Fault(openctitest.Rule{Operation: "work", Do: openctitest.GraphQLError("INTERNAL_SERVER_ERROR", "no")})
		}},
		"nor which references it holds": {func(r *rig) func() int {
			r.deliver(object(r.t, malware))
			r.platform.Remove("malware--1")
			r.deliver(object(r.t, note))
			return r.platform.Fault(openctitest.Rule{Operation: inquiry, To: -1, Do: openctitest.GraphQLError("INTERNAL_SERVER_ERROR", "no")})
		}},
		"nor which large objects": {func(r *rig) func() int {
			r.platform.FailImports(openctitest.Failure{ID: "malware--2", Name: "LOCK_ERROR"})
			r.NoteLarge(run)([]string{"malware--2"})
			r.deliver(largeObject(r.t, 2))
			return r.platform.Fault(openctitest.Rule{Operation: inquiry, To: -1, Do: openctitest.GraphQLError("INTERNAL_SERVER_ERROR", "no")})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				hits := tt.fails(r)
				r.close()
				other, err := r.client.AddWork(t.Context(), "a later run")
				must(t, err)
				must(t, r.keeper.Begin(t.Context(), run+1).Opened(t.Context(), other))
				r.platform.DeleteWork(other)
				if found := r.look(); !found.Deleted || hits() != 1 || len(r.keeper.Works()) != 1 {
					t.Errorf("found %+v after %d failures; the state is %s", found, hits(), r.keeper.Text())
				}
				r.look()
				if lines := r.logs.FilterMessageSnippet("cannot be found out").Len(); lines != 1 {
					t.Errorf("said %d times that the work cannot be followed", lines)
				}
				time.Sleep(givenUp)
				r.look()
				if len(r.keeper.Works()) > 0 {
					t.Error("after seven days the work is still looked at")
				}
			})
		})
	}
}

func TestADeletedWorkIsTakenBack(t *testing.T) {
	r := newRig(t)
	r.close()
	r.platform.DeleteWork(r.work)
	if found := r.look(); !found.Deleted || len(r.keeper.Works()) > 0 || !r.keeper.Doubted()[run] {
		t.Errorf("found %+v, the state is %s", found, r.keeper.Text())
	}
}

func TestWhatFallsOutForWhatIsSentAgainIsCounted(t *testing.T) {
	r := newRig(t)
	r.options.MaxWaiting = 2
	r.crash()
	for n := range 2 {
		_, err := r.index.Waiting().Save(t.Context(), []index.Waiter{{Object: object(t, strings.ReplaceAll(note, "note--1", fmt.Sprint("note--", n))), Missing: []string{"malware--1"}, Kind: index.Cleaned, Dataset: "alerts"}})
		must(t, err)
	}
	r.platform.FailImports(openctitest.Failure{Name: "LOCK_ERROR", Times: 2})
	for n := range 2 {
		r.deliver(object(t, fmt.Sprintf(`{"type":"malware","id":"malware--%d","name":"m"}`, n)))
	}
	r.close()
	r.look()
	said := r.logs.FilterMessageSnippet("are forgotten").All()
	if len(said) != 1 || said[0].ContextMap()["fallen_out"] != int64(2) {
		t.Errorf("logged %v", said)
	}
}

func TestADiskThatTakesNothingConcludesNothing(t *testing.T) {
	r := newRig(t)
	r.platform.FailImports(openctitest.Failure{ID: "malware--1", Name: "LOCK_ERROR"})
	r.deliver(object(t, malware))
	r.close()
	must(t, r.index.Close()) // writes fail from now on
	if found := r.look(); found.Again != 0 || len(r.keeper.Works()) != 1 || r.keeper.Works()[0].Errors != 0 {
		t.Errorf("found %+v, the state is %s", found, r.keeper.Text())
	}
	if err := os.RemoveAll(r.dir); err != nil {
		t.Fatal(err)
	}
}

func TestAnAdditionThatFailedIsSentAgainAsOne(t *testing.T) {
	r := newRig(t)
	main := object(t, malware)
	addition, ok := transform.AsAddition(object(t, `{"type":"malware","id":"malware--1","name":"m","labels":["x"]}`))
	if !ok {
		t.Fatal("it is none")
	}
	r.deliver(main)
	r.platform.FailImports(openctitest.Failure{Name: "LOCK_ERROR"})
	r.index.Put(index.KeyOf(addition.ID), index.Record{Digest: 5, Run: run, Seq: 1, Addition: true, Refs: 1})
	sent := addition
	sent.ID = main.ID
	r.deliverText(sent)
	r.close()
	r.look()
	w, there, err := r.index.Waiting().Get(addition.ID)
	if err != nil || !there || w.Object.Refs[0] != main.ID || r.record(addition.ID).Mark != index.Lost || r.record(main.ID).Mark == index.Lost {
		t.Errorf("on the shelf: %t %+v, %v", there, w, err)
	}
}
