package openctitest_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
)

func TestAWorkRecordsWhatIsDoneToIt(t *testing.T) {
	p := start(t, openctitest.Config{})
	if r := p.ask(`mutation { workAdd(connectorId: "c1") { id } }`, nil); r.Errors == nil {
		t.Error("an unknown connector opened a work")
	}
	p.mustRegister()
	first, second := p.openWork(), p.openWork()
	if first == second || !strings.HasPrefix(first, "work_c1_20") {
		t.Errorf("works %q and %q", first, second)
	}
	edit := func(id, change string) reply {
		return p.ask(`mutation($id: ID!) { workEdit(id: $id) { `+change+` } }`, vars{"id": id})
	}
	for change, ok := range map[string]bool{
		`addExpectations(expectations: 5)`:  true,
		`addExpectations(expectations: 0)`:  true,
		`addExpectations(expectations: -1)`: false,
		`addExpectations`:                   false,
	} {
		if r := edit(first, change); (r.Errors == nil) != ok {
			t.Errorf("%s: %+v", change, r)
		}
	}
	query := func(id string) any {
		return p.ask(`query($id: ID!) { work(id: $id) { id processed_time tracking { import_expected_number } } }`, vars{"id": id}).Data["work"]
	}
	want := map[string]any{"id": first, "processed_time": nil, "tracking": map[string]any{"import_expected_number": 5.0}}
	if got := query(first); !reflect.DeepEqual(got, want) {
		t.Errorf("an open work: %v", got)
	}
	edit(first, `toProcessed(message: "one", inError: false)`)
	edit(first, `toProcessed(message: "two", inError: true)`)
	w := p.Works()[0]
	if w.Expected != 5 || len(w.ExpectationCalls) != 2 || w.Closed != 2 || !w.InError || w.Message != "two" || w.MultiPart {
		t.Errorf("work = %+v", w)
	}
	if got := query(first); got.(map[string]any)["processed_time"] == nil {
		t.Errorf("a closed work: %v", got)
	}

	if !p.DeleteWork(second) || !p.Works()[1].Deleted {
		t.Error("the work was not deleted")
	}
	for _, change := range []string{"addExpectations(expectations: 1)", "toProcessed"} {
		if r := edit(second, change); r.Errors != nil || r.status != 200 {
			t.Errorf("%s of a deleted work: %+v", change, r)
		}
	}
	if w := p.Works()[1]; w.Expected != 0 || w.Closed != 0 {
		t.Errorf("a deleted work was changed: %+v", w)
	}
	if r := p.ask(`query($id: ID!) { work(id: $id) { id } }`, vars{"id": second}); r.Data["work"] != nil || r.Errors != nil {
		t.Errorf("a deleted work: %+v", r)
	}
	if p.DeleteWork(second) || !p.DeleteWork(first) {
		t.Error("DeleteWork does not tell")
	}
}

func TestStatesAreKeptInOrder(t *testing.T) {
	p := start(t, openctitest.Config{})
	p.SetState(`"old"`)
	if r := p.mustRegister(); r.Data["registerConnector"].(map[string]any)["connector_state"] != `"old"` {
		t.Errorf("registered with %v", r.Data)
	}
	var seen []string
	p.OnPing(func(ping openctitest.Ping) { seen = append(seen, ping.State+" over "+p.State()) })
	for _, s := range []string{"A", "A", "B", "A"} {
		p.ping(s)
	}
	if err := p.Reset(); err != nil {
		t.Fatal(err)
	}
	p.ping("C")
	p.ping("D")
	if got := p.States(); !reflect.DeepEqual(got, []string{"A", "B", "A", "D"}) {
		t.Errorf("States() = %q", got)
	}
	if want := []string{`A over "old"`, "A over A", "B over A", "A over B", "C over ", "D over "}; !reflect.DeepEqual(seen, want) {
		t.Errorf("OnPing saw %q", seen)
	}
	pings := p.Pings()
	if last := pings[4]; last.Stored || last.State != "C" {
		t.Errorf("the ping that a reset answered: %+v", last)
	}
	p.SetState("E")
	if p.State() != "E" {
		t.Errorf("State() = %q", p.State())
	}
}

func TestOperationsAreAnnouncedBeforeTheyAreCarriedOut(t *testing.T) {
	p := start(t, openctitest.Config{})
	var seen []string
	p.OnOperation(func(name string) {
		seen = append(seen, fmt.Sprint(name, " ", len(p.Registrations())))
	})
	p.mustRegister()
	p.ask(`{ about { version } connector(id: "c1") { id } }`, nil)
	p.ask(`mutation { workEdit(id: "w") { a: addExpectations(expectations: 1) b: toProcessed } }`, nil)
	if want := []string{"registerConnector 0", "about 1", "connector 1", "addExpectations 1", "toProcessed 1"}; !reflect.DeepEqual(seen, want) {
		t.Errorf("announced %q", seen)
	}
	if p.Calls("about") != 1 || p.Calls("toProcessed") != 1 || p.Calls("workEdit") != 0 {
		t.Error("calls are not counted")
	}
}

func TestFaultsHitTheCallsTheyAreMeantFor(t *testing.T) {
	p := start(t, openctitest.Config{})
	p.mustRegister()
	second := p.Fault(openctitest.Rule{Operation: "pingConnector", From: 2, Do: openctitest.Status(502, "<html>")})
	p.Fault(openctitest.Rule{Operation: "pingConnector", From: 3, To: 4, Do: openctitest.GraphQLError("LOCK_ERROR", "busy")})
	p.Fault(openctitest.Rule{Operation: "workEdit", To: -1, Do: openctitest.Status(503, "")})
	for i, want := range []string{"200 ", "502 ", "200 LOCK_ERROR", "200 LOCK_ERROR", "200 "} {
		if r := p.ping(fmt.Sprint(i)); fmt.Sprint(r.status, " ", r.code()) != want {
			t.Errorf("ping %d: %+v", i, r)
		}
	}
	if got := p.States(); !reflect.DeepEqual(got, []string{"0", "4"}) || second() != 1 {
		t.Errorf("stored %q, %d hits", got, second())
	}
	for range 3 {
		if r := p.ask(`mutation { workEdit(id: "w") { toProcessed } }`, nil); r.status != 503 {
			t.Errorf("workEdit: %+v", r)
		}
	}
	p.ClearFaults()
	if r := p.ask(`mutation { workEdit(id: "w") { toProcessed } }`, nil); r.status != 200 || r.Errors != nil {
		t.Errorf("after the faults: %+v", r)
	}

	post := func(state string) error {
		_, err := p.post(headers(), []byte(`{"query":"mutation{pingConnector(id:\"c1\",state:\"`+state+`\"){id}}"}`))
		return err
	}
	p.Fault(openctitest.Rule{Operation: "pingConnector", Do: openctitest.Refuse})
	if err := post("refused"); err == nil || p.State() != "4" {
		t.Errorf("refused: %v, state %q", err, p.State())
	}
	p.Fault(openctitest.Rule{Operation: "pingConnector", Do: openctitest.DropAnswer})
	if err := post("dropped"); err == nil || p.State() != "dropped" {
		t.Errorf("dropped: %v, state %q", err, p.State())
	}
}

func TestASlowAnswerIsCarriedOutAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := openctitest.New(openctitest.Config{})
		if err != nil {
			t.Fatal(err)
		}
		p.Fault(openctitest.Rule{Do: openctitest.Slow(time.Hour)})
		client := &http.Client{Transport: p.Transport(), Timeout: time.Minute}
		call := func() (*http.Response, error) {
			req, err := http.NewRequest(http.MethodPost, "http://platform/graphql", strings.NewReader(
				`{"query":"mutation{registerConnector(input:{id:\"c1\",name:\"n\",type:EXTERNAL_IMPORT}){id}}"}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Authorization", "Bearer ")
			return client.Do(req)
		}
		began := time.Now()
		if _, err := call(); err == nil || time.Since(began) != time.Minute || len(p.Registrations()) != 1 {
			t.Errorf("%v after %v, %d registrations", err, time.Since(began), len(p.Registrations()))
		}
		p.Fault(openctitest.Rule{Do: openctitest.DropAnswer})
		if _, err := call(); !errors.Is(err, io.ErrUnexpectedEOF) || len(p.Registrations()) != 2 {
			t.Errorf("dropped: %v", err)
		}
		resp, err := call()
		if err != nil || resp.StatusCode != 200 || len(p.Registrations()) != 3 {
			t.Fatalf("%v, %v", resp, err)
		}
		_ = resp.Body.Close()
	})
}

func TestManyConnectorsAtOnce(t *testing.T) {
	p := start(t, openctitest.Config{})
	p.mustRegister()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 20 {
				p.ping(fmt.Sprint(i))
				p.Works()
				p.States()
				p.openWork()
			}
		})
	}
	wg.Wait()
	ids := map[string]bool{}
	for _, w := range p.Works() {
		ids[w.ID] = true
	}
	if len(ids) != 160 || len(p.Pings()) != 160 {
		t.Errorf("%d works, %d pings", len(ids), len(p.Pings()))
	}
}

// TestThePlatformDoesNotTellItsCallersApart has two connectors with one id.
func TestThePlatformDoesNotTellItsCallersApart(t *testing.T) {
	p := start(t, openctitest.Config{})
	p.mustRegister()
	p.ping("A")
	p.ping("B")
	if p.State() != "B" {
		t.Errorf("the last one does not count: %q", p.State())
	}
	if again := p.mustRegister(); again.Data["registerConnector"].(map[string]any)["connector_state"] != "B" {
		t.Errorf("the other one registers with %v", again.Data)
	}
	if err := p.Reset(); err != nil {
		t.Fatal(err)
	}
	p.mustRegister() // leaves the mark
	p.ping("A")
	if p.State() != "" {
		t.Errorf("the first ping after a reset was stored: %q", p.State())
	}
	p.ping("B")
	if p.State() != "B" {
		t.Errorf("the other one has heard of the reset, too: %q", p.State())
	}
}

func TestAPingReadsTheMarkBeforeItWrites(t *testing.T) {
	p := start(t, openctitest.Config{})
	p.mustRegister()
	p.ping("A")
	p.OnPing(func(openctitest.Ping) {
		p.OnPing(nil)
		if err := p.Reset(); err != nil {
			t.Error(err)
		}
	})
	p.ping("B") // stored in place of the reset
	if p.State() != "B" {
		t.Errorf("it holds %q", p.State())
	}
	p.ping("C")
	if pings := p.Pings(); pings[len(pings)-1].Stored || p.State() != "B" {
		t.Errorf("the mark is gone: it holds %q", p.State())
	}
}

func TestStorageThatLagsShowsWhatWasStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, pings := range []bool{true, false} {
			p, err := openctitest.New(openctitest.Config{})
			if err != nil {
				t.Fatal(err)
			}
			ask := func(query string) string {
				r, err := http.NewRequest(http.MethodPost, "http://opencti/graphql", strings.NewReader(`{"query":`+fmt.Sprintf("%q", query)+`}`))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("Authorization", "Bearer ")
				resp, err := p.Transport().RoundTrip(r)
				if err != nil {
					t.Fatal(err)
				}
				said, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Fatal(err)
				}
				return string(said)
			}
			ask(`mutation { registerConnector(input: {id: "c1", name: "c", type: EXTERNAL_IMPORT, scope: ["x"]}) { id } }`)
			ping := func(s string) string {
				return ask(`mutation { pingConnector(id: "c1", state: "` + s + `") { connector_state } }`)
			}
			ping("A")
			p.Lag(5*time.Second, pings)
			want := "B"
			if pings {
				want = "A"
			}
			if said := ping("B"); !strings.Contains(said, want) {
				t.Errorf("the ping is answered with %s", said)
			}
			time.Sleep(2 * time.Second)
			ping("C")
			for _, want := range []string{"A", "A", "B", "C"} { // after 2, 4, 6 and 8 s
				if said := ask(`{ connector(id: "c1") { connector_state } }`); !strings.Contains(said, `"`+want+`"`) {
					t.Errorf("it shows %s, want %s", said, want)
				}
				time.Sleep(2 * time.Second)
			}
			if p.State() != "C" {
				t.Errorf("it holds %s", p.State())
			}
		}
	})
}
