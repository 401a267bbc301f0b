package endtoend

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// workshop is a bubble whose queue OpenCTI's workers take from, and whose imports can fail.
type workshop struct {
	*bubble
	data *threatmatchtest.Folder
	logs *observer.ObservedLogs
	stop func() // the connector that runs
}

// newWorkshop lays out a workshop without a connector that runs.
func newWorkshop(t *testing.T, dir string, data *threatmatchtest.Folder, settings ...string) *workshop {
	w := &workshop{data: data, stop: func() {}}
	w.bubble = newBubble(t, dir, threatmatchtest.Config{Data: data}, rabbitmqtest.Config{}, openctitest.Config{},
		append([]string{"CONNECTOR_RUN_AND_TERMINATE=false", "CONNECTOR_DURATION_PERIOD=P30D"}, settings...)...)
	core, logs := observer.New(zapcore.InfoLevel)
	w.log, w.logs = zap.New(core), logs
	return w
}

// start starts the connector anew.
func (w *workshop) start() {
	w.stop()
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := w.begin(ctx)
	w.stop = func() {
		cancel()
		must(w.t, <-ended)
		w.stop = func() {}
	}
}

// pass lets time pass, while workers take from the queue every minute, and returns how many messages they took.
func (w *workshop) pass(d time.Duration) (messages int) {
	for range d / time.Minute {
		time.Sleep(time.Minute)
		synctest.Wait()
		messages += len(w.work())
	}
	return messages
}

// fail sets a failure of imports.
func (w *workshop) fail(id string, times int, name string) (hits func() int) {
	return w.platform.FailImports(openctitest.Failure{ID: id, Times: times, Name: name, Message: "why not"})
}

// named are the ids of the objects of which the log says at error that OpenCTI lacks them.
func (w *workshop) named() (ids []string) {
	for _, line := range w.logs.FilterLevelExact(zapcore.ErrorLevel).All() {
		id, _ := line.ContextMap()["object"].(string)
		ids = append(ids, id)
	}
	return ids
}

func (w *workshop) lacks(ids ...string) (missing []string) {
	for _, id := range ids {
		if !w.platform.Holds(id) {
			missing = append(missing, id)
		}
	}
	return missing
}

// knowsNoWorks wants every work to be done with.
func (w *workshop) knowsNoWorks() {
	w.t.Helper()
	if text := w.platform.State(); strings.Contains(text, `"works"`) {
		w.t.Errorf("the state is %s", text)
	}
}

var shopDay = time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)

// putRelated puts two pieces of malware, a relation between them, and a report of all three.
func putRelated(t *testing.T, data *threatmatchtest.Folder) (ids []string) {
	ids = []string{malwareID(1), malwareID(2), "relationship--00000000-0000-4000-8000-000000000003", "report--00000000-0000-4000-8000-000000000004"}
	stamps := fmt.Sprintf(`"spec_version":"2.1","created":%q,"modified":%[1]q`, shopDay.Format(time.RFC3339))
	text := fmt.Appendf(nil, `[{"type":"malware","id":%[1]q,%[2]s,"name":"a","is_family":false},{"type":"malware","id":%[3]q,%[2]s,"name":"b","is_family":false},`+
		`{"type":"relationship","id":%[4]q,%[2]s,"relationship_type":"related-to","source_ref":%[1]q,"target_ref":%[3]q},`+
		`{"type":"report","id":%[5]q,%[2]s,"name":"r","published":"1999-01-01T00:00:00Z","object_refs":[%[1]q,%[3]q,%[4]q]}]`,
		ids[0], stamps, ids[1], ids[2], ids[3])
	must(t, data.Put("profiles", 1, shopDay, text))
	return ids
}

func TestWhatPassesIsSentAgainWithinTheHour(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"LOCK_ERROR", "DATABASE_ERROR", "", "something new"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				var data threatmatchtest.Folder
				ids := putRelated(t, &data)
				w := newWorkshop(t, dir, &data)
				w.fail(ids[0], 1, name) // and the relation and the report for want of it
				w.start()
				w.pass(5 * time.Minute)
				if missing := w.lacks(ids...); len(missing) != 3 {
					t.Fatalf("at first OpenCTI lacks %q", missing)
				}
				if again := w.pass(55 * time.Minute); again != 3 {
					t.Errorf("%d messages were sent again", again)
				}
				if missing := w.lacks(ids...); len(missing) > 0 {
					t.Errorf("OpenCTI lacks %q", missing)
				}
				text, _ := w.platform.Object(ids[3])
				for _, ref := range ids[:3] {
					if !strings.Contains(string(text), ref) {
						t.Errorf("the report %s lacks %s", text, ref)
					}
				}
				if more := w.pass(24 * time.Hour); more > 0 {
					t.Errorf("%d more messages", more)
				}
				w.knowsNoWorks()
				w.stop()
				if works := w.platform.Works(); len(works) != 2 || len(w.named()) > 0 {
					t.Errorf("%d works; named %q", len(works), w.named())
				}
			})
		})
	}
}

func TestWhatKeepsFailingIsNamedAfterThreeMoreAttempts(t *testing.T) {
	t.Parallel()
	for _, restarts := range []bool{false, true} {
		t.Run(fmt.Sprintf("restarts=%t", restarts), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				var data threatmatchtest.Folder
				ids := putRelated(t, &data)
				w := newWorkshop(t, dir, &data)
				hits := w.fail(ids[0], -1, "LOCK_ERROR")
				w.start()
				for range 12 {
					w.pass(time.Hour)
					if restarts {
						w.start()
					}
				}
				if hits() != 4 {
					t.Errorf("it was sent %d times", hits())
				}
				if named := w.named(); len(named) != 1 || named[0] != ids[0] {
					t.Errorf("named %q", named)
				}
				// What refers to it comes to an end: the report is there without it, the relation is held back.
				if missing := w.lacks(ids...); len(missing) != 2 || missing[1] != ids[2] {
					t.Errorf("OpenCTI lacks %q", missing)
				}
				if more := w.pass(24 * time.Hour); more > 0 {
					t.Errorf("%d more messages", more)
				}
				w.knowsNoWorks()
				w.platform.ClearFailures()
				// Once it has changed, all is made good.
				must(t, data.Put("profiles", 2, time.Now(), fmt.Appendf(nil, `[{"type":"malware","spec_version":"2.1","id":%q,"created":%q,"modified":%q,"name":"a2","is_family":false}]`,
					ids[0], shopDay.Format(time.RFC3339), time.Now().UTC().Format(time.RFC3339))))
				w.start()
				w.pass(time.Hour)
				if missing := w.lacks(ids...); len(missing) > 0 {
					t.Errorf("after its change OpenCTI lacks %q", missing)
				}
				w.stop()
			})
		})
	}
}

func TestWhatOpenCTIDoesNotTakeIsNamedOnceAndSentAgainOnlyWhenItChanges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var data threatmatchtest.Folder
		put := func(listed, modified time.Time) {
			must(t, data.Put("profiles", 1, listed, fmt.Appendf(nil, `[{"type":"malware","spec_version":"2.1","id":%q,"created":%q,"modified":%q,"name":"a","is_family":false}]`,
				malwareID(1), shopDay.Format(time.RFC3339), modified.UTC().Format(time.RFC3339))))
		}
		put(shopDay, shopDay)
		w := newWorkshop(t, dir, &data)
		hits := w.fail(malwareID(1), -1, "FUNCTIONAL_ERROR")
		w.start()
		w.pass(2 * time.Hour)
		for range 3 {
			put(time.Now(), shopDay)
			w.start()
			w.pass(2 * time.Hour)
		}
		if named := w.named(); hits() != 1 || len(named) != 1 || named[0] != malwareID(1) {
			t.Errorf("sent %d times, named %q", hits(), named)
		}
		line := w.logs.FilterLevelExact(zapcore.ErrorLevel).All()[0].ContextMap()
		if line["type"] != "malware" || line["name"] != "a" || line["error"] != "FUNCTIONAL_ERROR" || line["message"] != "why not" {
			t.Errorf("the log says %v", line)
		}
		w.platform.ClearFailures()
		put(time.Now(), time.Now())
		w.start()
		w.pass(time.Hour)
		w.knowsNoWorks()
		w.stop()
		if missing := w.lacks(malwareID(1)); len(missing) > 0 {
			t.Error("its change was not sent")
		}
	})
}

func TestAListOfErrorsThatIsFullLetsTheRestBeSentAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		const all = 150
		var data threatmatchtest.Folder
		var ids []string
		for i := range all {
			ids = append(ids, malwareID(i+1))
			putMalware(t, &data, i+1, shopDay, "")
		}
		w := newWorkshop(t, dir, &data)
		w.fail("", all, "LOCK_ERROR")
		w.start()
		w.pass(2 * time.Hour)
		missing := w.lacks(ids...)
		if len(missing) == 0 || len(missing) >= all {
			t.Fatalf("OpenCTI lacks %d objects", len(missing))
		}
		if full := w.logs.FilterMessageSnippet("names no more of them").Len(); full != 1 || len(w.named()) != 1 {
			t.Errorf("said %d times that the list is full; named %q", full, w.named())
		}
		for i := range all {
			must(t, data.Put("profiles", int64(i+1), time.Now(), fmt.Appendf(nil, `[{"type":"malware","spec_version":"2.1","id":%q,"created":"2000-01-01T00:00:00Z","modified":%q,"name":"m","is_family":false}]`,
				ids[i], shopDay.Format(time.RFC3339))))
		}
		w.start()
		if sent := w.pass(time.Hour); sent != len(missing) {
			t.Errorf("%d messages for %d objects", sent, len(missing))
		}
		if missing := w.lacks(ids...); len(missing) > 0 {
			t.Errorf("OpenCTI lacks %q", missing)
		}
		w.stop()
	})
}

// largeFiles lists the files in which the large objects of runs are noted.
func largeFiles(t *testing.T, dir string) []string {
	paths, err := filepath.Glob(filepath.Join(dir, "large-*"))
	must(t, err)
	return paths
}

func TestALargeObjectThatFailedIsFoundOutByAskingForIt(t *testing.T) {
	t.Parallel()
	for _, forgotten := range []bool{false, true} {
		t.Run(fmt.Sprintf("forgotten=%t", forgotten), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				var data threatmatchtest.Folder
				large := func(number int, listed time.Time) {
					must(t, data.Put("profiles", int64(number), listed, fmt.Appendf(nil, `[{"type":"malware","spec_version":"2.1","id":%q,"created":%q,"modified":%[2]q,"name":%q,"is_family":false}]`,
						malwareID(number), shopDay.Format(time.RFC3339), strings.Repeat("ü", 10_000))))
				}
				for i := range 3 {
					large(i+1, shopDay)
				}
				w := newWorkshop(t, dir, &data)
				w.fail(malwareID(2), 1, "LOCK_ERROR")
				w.start()
				if forgotten {
					time.Sleep(30 * time.Second)
					synctest.Wait()
					for _, path := range largeFiles(t, dir) {
						must(t, os.Remove(path))
					}
				}
				w.pass(2 * time.Hour)
				if named := w.named(); len(named) != 1 || (named[0] == malwareID(2)) == forgotten {
					t.Errorf("named %q", named)
				}
				w.knowsNoWorks()
				large(2, time.Now())
				w.start()
				want := 1
				if forgotten {
					want = 3 // with the author and the marking, which the same run brought
				}
				if sent := w.pass(time.Hour); sent != want || len(w.lacks(malwareID(2))) > 0 {
					t.Errorf("%d messages; OpenCTI holds it: %t", sent, w.platform.Holds(malwareID(2)))
				}
				w.stop()
				if left := largeFiles(t, dir); len(left) > 0 {
					t.Errorf("%q are left", left)
				}
			})
		})
	}
}

func TestAMessageThatNoWorkerCouldReadIsMissed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var data threatmatchtest.Folder
		ids := putRelated(t, &data)
		w := newWorkshop(t, dir, &data)
		w.start()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		w.broker.Take(bubbleQueue, 1) // as a worker does with what it cannot read; it is the author or the marking
		w.pass(time.Hour)
		if missing := w.lacks(ids...); len(missing) > 0 {
			t.Errorf("OpenCTI lacks %q", missing)
		}
		w.knowsNoWorks()
		if n := w.logs.FilterLevelExact(zapcore.ErrorLevel).FilterMessageSnippet("messages of a work were lost").Len(); n != 1 || len(w.named()) != 1 {
			t.Errorf("said so %d times; named %q", n, w.named())
		}
		putRelated(t, &data)
		putMalware(t, &data, 9, time.Now(), "")
		w.start()
		w.pass(time.Hour)
		if missing := w.lacks(authorID, malwareID(9)); len(missing) > 0 {
			t.Errorf("what comes again lets OpenCTI lack %q", missing)
		}
		w.stop()
	})
}

func TestAWorkOfAKilledRunIsDoneWithOnceTheQueueIsEmpty(t *testing.T) {
	t.Parallel()
	data, dir := plainIndicators(t, 600), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b, logs := slowBubble(t, dir, data, "CONNECTOR_RUN_AND_TERMINATE=false", "CONNECTOR_DURATION_PERIOD=P30D")
		b.platform.OnOperation(func(operation string) {
			if works := b.platform.Works(); operation == "addExpectations" && len(works) == 1 && works[0].Expected > 0 {
				b.broker.Block("memory") // the process dies before it has sent them
			}
		})
		ctx, kill := context.WithCancelCause(t.Context())
		ended := b.begin(ctx)
		time.Sleep(20 * time.Second)
		b.kill(kill, ended)
		b.broker.Unblock()
		logs.TakeAll() // that the broker takes nothing
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended = b.begin(ctx)
		for range 30 {
			time.Sleep(time.Minute)
			synctest.Wait()
			b.work()
		}
		works := b.platform.Works()
		if len(works) != 2 || works[0].Complete || !works[1].Complete {
			t.Fatalf("the works are %+v", works)
		}
		if state := b.platform.State(); strings.Contains(state, `"works"`) || strings.Contains(state, `"doubted"`) {
			t.Errorf("the state is %s", state)
		}
		if errs := logs.FilterLevelExact(zapcore.ErrorLevel); errs.Len() > 0 {
			t.Errorf("logged %v", errs.All())
		}
		cancel()
		<-ended
	})
}

func TestWhatRefersToWhatWasDeletedIsSentWithout(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var data threatmatchtest.Folder
		ids := putRelated(t, &data)
		w := newWorkshop(t, dir, &data)
		w.start()
		w.pass(time.Hour)
		w.platform.Remove(authorID, ids[0])
		report := "report--00000000-0000-4000-8000-000000000009"
		must(t, data.Put("profiles", 9, time.Now(), fmt.Appendf(nil, `[{"type":"report","spec_version":"2.1","id":%q,"created":%q,"modified":%[2]q,"name":"new","published":"1999-01-01T00:00:00Z","object_refs":[%q,%q]}]`,
			report, shopDay.Format(time.RFC3339), ids[0], ids[1])))
		w.start()
		w.pass(2 * time.Hour)
		if text, _ := w.platform.Object(report); !strings.Contains(string(text), ids[1]) {
			t.Errorf("the report is %s", text)
		}
		if named := w.named(); len(named) > 0 {
			t.Errorf("named %q", named)
		}
		w.stop()
	})
}
