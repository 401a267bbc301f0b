package endtoend

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

const (
	foreignMarking = "marking-definition--11111111-1111-4111-8111-111111111111"
	foreignAuthor  = "identity--22222222-2222-4222-8222-222222222222"
	heldQuestion   = "stixObjectOrStixRelationships"
)

// putMalware puts a piece of malware that only OpenCTI's marking and author make whole.
func putMalware(t *testing.T, data *threatmatchtest.Folder, number int, changed time.Time, refs string) {
	t.Helper()
	text := fmt.Appendf(nil, `[{"type":"malware","spec_version":"2.1","id":%q,"created":"2000-01-01T00:00:00Z","modified":%q,"name":"m","is_family":false%s}]`,
		malwareID(number), changed.UTC().Format(time.RFC3339), refs)
	must(t, data.Put("profiles", int64(number), changed, text))
}

func malwareID(number int) string {
	return fmt.Sprintf("malware--00000000-0000-4000-8000-%012d", number)
}

var foreignRefs = fmt.Sprintf(`,"created_by_ref":%q,"object_marking_refs":[%q]`, foreignAuthor, foreignMarking)

// work lets OpenCTI's workers import all that is in the connector's queue, and returns what they took.
func (b *bubble) work() []delivery {
	b.t.Helper()
	var all []delivery
	for _, m := range b.broker.Take("push_"+b.cfg.Connector.ID, 1<<30) {
		d, err := readDelivery(m.Body)
		must(b.t, err)
		all = append(all, d)
		b.platform.Import(m.Body)
	}
	return all
}

// whole says whether the platform holds an object with both of its foreign references.
func (b *bubble) whole(id string) bool {
	text, _ := b.platform.Object(id)
	return bytes.Contains(text, []byte(foreignMarking)) && bytes.Contains(text, []byte(foreignAuthor))
}

func TestWhatRefersToWhatOnlyOpenCTIHoldsArrivesWhole(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"5.12.0", "6.0.9", "6.1.0", "7.260817.0"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				var data threatmatchtest.Folder
				for i := range 300 { // more than any question may hold
					putMalware(t, &data, i+1, time.Date(1999, 1, 1, 0, 0, i, 0, time.UTC), foreignRefs+fmt.Sprintf(`,"x_refs":["identity--%08d-0000-4000-8000-000000000000"]`, i))
				}
				b := newBubble(t, dir, threatmatchtest.Config{Data: &data}, rabbitmqtest.Config{}, openctitest.Config{Version: version})
				b.platform.Hold(foreignMarking, foreignAuthor)
				must(t, b.run(t.Context()))
				if n := len(b.work()); n < 300 {
					t.Errorf("%d messages", n)
				}
				for i := range 300 {
					if !b.whole(malwareID(i + 1)) {
						t.Fatalf("%s has lost its marking or its author", malwareID(i+1))
					}
				}
			})
		})
	}
}

func TestWhileOpenCTIDoesNotSayWhatItHoldsNothingIsCut(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]openctitest.Do{
		"the search engine is away": openctitest.GraphQLError("DATABASE_ERROR", "the search engine is away"),
		"the proxy has no backend":  openctitest.Status(502, "<html>"),
		"it says something strange": openctitest.GraphQLError("UNKNOWN_ERROR", "?"),
	} {
		for _, lasting := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, lasting %v", name, lasting), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				synctest.Test(t, func(t *testing.T) {
					var data threatmatchtest.Folder
					putMalware(t, &data, 1, time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), foreignRefs)
					putMalware(t, &data, 2, time.Date(1999, 1, 2, 0, 0, 0, 0, time.UTC), "")
					b := newBubble(t, dir, threatmatchtest.Config{Data: &data}, rabbitmqtest.Config{}, openctitest.Config{})
					b.platform.Hold(foreignMarking, foreignAuthor)
					rule := openctitest.Rule{Operation: heldQuestion, From: 1, To: -1, Do: fault}
					if !lasting {
						rule.To = 9
					}
					b.platform.Fault(rule)
					err := b.run(t.Context())
					if (err != nil) != lasting {
						t.Fatalf("the run ended with %v", err)
					}
					b.work()
					if !b.platform.Holds(malwareID(2)) || b.platform.Holds(malwareID(1)) == lasting {
						t.Error("what needs no answer was held back, or what needs one was not")
					}
					b.platform.ClearFaults()
					must(t, b.run(t.Context()))
					b.work()
					if !b.whole(malwareID(1)) {
						t.Error("the marking or the author was cut")
					}
				})
			})
		}
	}
}

func TestWhatWasCutWithoutTheRightToAskIsMadeGoodWithIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var data threatmatchtest.Folder
		putMalware(t, &data, 1, time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), foreignRefs)
		b := newBubble(t, dir, threatmatchtest.Config{Data: &data}, rabbitmqtest.Config{}, openctitest.Config{})
		b.platform.Hold(foreignMarking, foreignAuthor)
		b.platform.Fault(openctitest.Rule{Operation: heldQuestion, From: 1, To: -1, Do: openctitest.GraphQLError("FORBIDDEN_ACCESS", "You are not allowed to do this.")})
		must(t, b.run(t.Context()))
		b.work()
		if !b.platform.Holds(malwareID(1)) || b.whole(malwareID(1)) {
			t.Error("without the right an object is to go without what nobody has sent")
		}
		must(t, b.run(t.Context()))
		if n := len(b.work()); n > 0 {
			t.Errorf("a run without anything new sent %d messages", n)
		}
		b.platform.ClearFaults()
		must(t, b.run(t.Context()))
		b.work()
		if !b.whole(malwareID(1)) {
			t.Error("the marking or the author is still missing")
		}
	})
}

func TestWhatOpenCTIHasLostIsSentAgain(t *testing.T) {
	t.Parallel()
	for after, again := range map[string]bool{"P7D": true, "P100D": false, "0": false} {
		t.Run(after, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				var data threatmatchtest.Folder
				for i := range 3 {
					putMalware(t, &data, i+1, time.Date(1999, 1, 1, 0, 0, i, 0, time.UTC), "")
				}
				b := newBubble(t, dir, threatmatchtest.Config{Data: &data}, rabbitmqtest.Config{}, openctitest.Config{}, "CONNECTOR_VERIFY_AFTER="+after)
				must(t, b.run(t.Context()))
				b.work()
				b.platform.Remove(malwareID(1), malwareID(3))
				time.Sleep(8 * 24 * time.Hour)
				// The items come again: the first and the second as they were, with a report on the third, which does not come.
				now := time.Now()
				for i := range 2 {
					text, _ := data.Item("profiles", fmt.Sprint(i+1))
					must(t, data.Put("profiles", int64(i+1), now, text))
				}
				report := fmt.Sprintf(`[{"type":"report","spec_version":"2.1","id":"report--00000000-0000-4000-8000-000000000001","created":"2000-01-01T00:00:00Z","modified":"2000-01-01T00:00:00Z","name":"r","published":"2000-01-01T00:00:00Z","object_refs":[%q,%q]}]`,
					malwareID(2), malwareID(3))
				must(t, data.Put("profiles", 4, now, []byte(report)))
				must(t, b.run(t.Context()))
				sent := b.work()
				if got := slices.ContainsFunc(sent, func(d delivery) bool { return d.ID == malwareID(1) }); got != again {
					t.Errorf("what was lost was sent again: %v", got)
				}
				if slices.ContainsFunc(sent, func(d delivery) bool { return d.ID == malwareID(2) }) {
					t.Error("what OpenCTI still holds was sent again")
				}
				if !again {
					return
				}
				if b.platform.Holds(malwareID(3)) {
					t.Error("the third came although its item did not")
				}
				for _, w := range b.platform.Works() {
					if len(w.Errors) > 0 {
						t.Errorf("the workers could not import: %+v", w.Errors)
					}
				}
				text, _ := data.Item("profiles", "3")
				must(t, data.Put("profiles", 3, time.Now(), text))
				must(t, b.run(t.Context()))
				b.work()
				held, _ := b.platform.Object("report--00000000-0000-4000-8000-000000000001")
				if !strings.Contains(string(held), malwareID(3)) {
					t.Errorf("when it had come the report was not sent whole: %s", held)
				}
			})
		})
	}
}
