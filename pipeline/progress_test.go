package pipeline

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// modelPage is a page as the model sees it: what became of each item, and the cursor behind it.
type modelPage struct {
	next  Cursor
	items []Outcome // -1 while nothing is known
}

func (p modelPage) all(o Outcome) bool {
	return !slices.ContainsFunc(p.items, func(i Outcome) bool { return i < o })
}

// modelDataset recomputes from scratch, for each question, what may be committed.
type modelDataset struct {
	start Cursor
	pages []modelPage // all since the start, never removed
}

// committable is the cursor that the promise allows: behind all pages without a gap that are delivered or wait on disk,
// and with the name of the place up to which nothing waits.
func (m modelDataset) committable() Cursor {
	delivered := 0
	for delivered < len(m.pages) && m.pages[delivered].all(Delivered) {
		delivered++
	}
	kept := delivered
	for kept < len(m.pages) && m.pages[kept].all(Kept) && m.pages[kept].next.Pass != nil {
		kept++
	}
	behind := func(n int) Cursor {
		if n == 0 {
			return m.start
		}
		return m.pages[n-1].next
	}
	c := behind(kept)
	if kept == delivered {
		return c
	}
	from, failed := "", slices.Clone(c.Failed)
	if d := behind(delivered); d.Pass != nil && d.Pass.Started.Equal(c.Pass.Started) {
		from = d.Pass.After
	}
	for _, id := range behind(delivered).Failed {
		if !slices.Contains(failed, id) {
			failed = append(failed, id)
		}
	}
	pass := *c.Pass
	pass.KeptFrom = &from
	return Cursor{Since: c.Since, Pass: &pass, Failed: failed}
}

// resumed is a cursor of which an earlier run has kept something, and the model of it: a page that is kept.
func resumed(t *rapid.T) (Cursor, modelDataset) {
	from := rapid.SampledFrom([]string{"", "3", "7"}).Draw(t, "keptFrom")
	c := at("7")
	c.Failed = []string{"2"}
	model := modelDataset{start: at(from)}
	model.start.Failed = c.Failed
	kept := at("7")
	kept.Failed = c.Failed
	model.pages = []modelPage{{next: kept, items: []Outcome{Kept}}}
	c.Pass.KeptFrom = &from
	return c, model
}

func TestACursorIsNeverCommittedBeforeAllBeforeItIsSettled(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type open struct {
			dataset    string
			page, item int
			settle     func(Outcome)
		}
		names := []string{"alerts", "iocs", "profiles"}[:rapid.IntRange(1, 3).Draw(t, "datasets")]
		start, models := map[string]Cursor{}, map[string]*modelDataset{}
		for _, name := range names {
			c, model := fresh(), modelDataset{start: fresh()}
			if rapid.Bool().Draw(t, "resumed") {
				c, model = resumed(t)
			}
			start[name], models[name] = c, &model
		}
		const openPages = 4
		l := newLedger(openPages, start)
		var pending []open
		for name, settle := range l.carried() {
			pending = append(pending, open{name, 0, 0, settle})
		}
		taken := map[string]Cursor{}
		for name, m := range models {
			taken[name] = m.committable()
		}
		passes, position := map[string]int{}, map[string]int{}

		openOne := func(name string) {
			m := models[name]
			busy := 0
			for _, p := range m.pages {
				if !p.all(Parked) {
					busy++
				}
			}
			if busy >= openPages {
				return
			}
			p := Page{}
			started := began.Add(time.Duration(passes[name]) * time.Hour)
			if rapid.IntRange(0, 4).Draw(t, "ends") == 0 {
				p.Next, position[name] = Cursor{Since: started}, 0
				passes[name]++
			} else {
				// Positions repeat: a page of items that are tried again ends where the one before it did.
				position[name] += rapid.IntRange(0, 1).Draw(t, "moves")
				p.Next = Cursor{Since: fresh().Since, Pass: &Pass{Started: started, After: strconv.Itoa(10 + position[name])}}
			}
			p.Next.Failed = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"1", "2", "3"}), 0, 2, rapid.ID).Draw(t, "failed")
			items := make([]Outcome, rapid.IntRange(0, 3).Draw(t, "items"))
			for i := range items {
				items[i] = -1
				p.Items = append(p.Items, Item{})
			}
			entry, err := l.open(t.Context(), name, p)
			if err != nil {
				t.Fatal(err)
			}
			for i := range items {
				pending = append(pending, open{name, len(m.pages), i, l.ticket(name, entry).settle})
			}
			m.pages = append(m.pages, modelPage{p.Next, items})
		}
		settleOne := func() {
			if len(pending) == 0 {
				return
			}
			i := rapid.IntRange(0, len(pending)-1).Draw(t, "which")
			o := pending[i]
			item := &models[o.dataset].pages[o.page].items[o.item]
			outcome := rapid.SampledFrom([]Outcome{Parked, Kept, Delivered}).Draw(t, "outcome")
			if outcome <= *item {
				return
			}
			*item = outcome
			o.settle(outcome)
			if outcome == Delivered {
				pending = slices.Delete(pending, i, i+1)
			}
		}
		look := func(fails bool) {
			moved := l.take()
			for name, m := range models {
				want := m.committable()
				got, found := moved[name]
				if !found {
					got = taken[name]
				}
				if show(got) != show(want) {
					t.Fatalf("%s: the ledger says %s, everything settled says %s (found %v)", name, show(got), show(want), found)
				}
				if !fails {
					taken[name] = want
				}
			}
			if fails && len(moved) > 0 {
				l.putBack(moved)
				if len(l.changed) == 0 {
					t.Fatal("nobody is told of what was put back")
				}
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0, 1, 2:
				openOne(rapid.SampledFrom(names).Draw(t, "dataset"))
			case 3:
				look(true)
			case 4:
				look(false)
			default:
				settleOne()
			}
			for name, m := range models {
				if show(m.committable()) != show(taken[name]) && len(l.changed) == 0 {
					// A token may have been used up by the look before; then the dataset must still be dirty.
					if !l.datasets[name].dirty {
						t.Fatalf("%s has moved to %s and nobody would know", name, show(m.committable()))
					}
				}
			}
		}
		look(false)
	})
}

func show(c Cursor) string {
	s := fmt.Sprintf("since %s failed %v", c.Since.Format(time.DateTime), c.Failed)
	if c.Pass != nil {
		s += fmt.Sprintf(" pass %s after %q", c.Pass.Started.Format(time.DateTime), c.Pass.After)
		if c.Pass.KeptFrom != nil {
			s += fmt.Sprintf(" kept from %q", *c.Pass.KeptFrom)
		}
	}
	return s
}

// ledgerOf is a ledger of one dataset, with what it says now.
func ledgerOf(t *testing.T, from Cursor) (l *ledger, open func(next Cursor) func(Outcome), now func() string) {
	l = newLedger(8, map[string]Cursor{"iocs": from})
	open = func(next Cursor) func(Outcome) {
		t.Helper()
		entry, err := l.open(t.Context(), "iocs", Page{Items: []Item{{}}, Next: next})
		if err != nil {
			t.Fatal(err)
		}
		return l.ticket("iocs", entry).settle
	}
	now = func() string {
		c, moved := l.take()["iocs"]
		if !moved {
			return "nothing"
		}
		s := after(c)
		if c.Pass != nil && c.Pass.KeptFrom != nil {
			s += " kept from " + *c.Pass.KeptFrom
		}
		return s
	}
	return l, open, now
}

func TestTheEndOfAPassIsNotCommittedWhileSomethingWaitsOnDisk(t *testing.T) {
	_, open, now := ledgerOf(t, fresh())
	one, two, last := open(at("1")), open(at("2")), open(ended())
	two(Delivered)
	last(Delivered)
	if got := now(); got != "nothing" {
		t.Errorf("with the first page on its way: %s", got)
	}
	one(Kept)
	if got := now(); got != "2 kept from " {
		t.Errorf("with the first page kept: %s", got)
	}
	one(Delivered)
	if got := now(); got != "end" {
		t.Errorf("with all delivered: %s", got)
	}
}

func TestAPageThatIsTriedAgainAndKeptIsNotTakenForDelivered(t *testing.T) {
	from := at("5")
	from.Failed = []string{"3"}
	l, open, _ := ledgerOf(t, from)
	retried := open(at("5")) // item 3 came this time, and waits for another object
	retried(Kept)
	c := l.take()["iocs"]
	if c.Pass == nil || c.Pass.KeptFrom == nil || *c.Pass.KeptFrom != "5" || !reflect.DeepEqual(c.Failed, []string{"3"}) {
		t.Errorf("committed %s: the next run would not look for item 3 on disk, nor fetch it where the disk is lost", show(c))
	}
	next := newLedger(8, map[string]Cursor{"iocs": c})
	if len(next.carried()) != 1 {
		t.Error("the next run does not take up what waits")
	}
}

func TestAResumedCursorIsCleanOnceWhatWasKeptIsDelivered(t *testing.T) {
	from := at("7")
	seven := "3"
	from.Pass.KeptFrom = &seven
	l, open, now := ledgerOf(t, from)
	if start := l.start("iocs"); start.Pass.After != "7" || start.Pass.KeptFrom != nil {
		t.Errorf("the source begins at %s", show(start))
	}
	carried := l.carried()["iocs"]
	eight, nine := open(at("8")), open(at("9"))
	eight(Delivered)
	if got := now(); got != "8 kept from 3" {
		t.Errorf("with the earlier run's still waiting: %s", got)
	}
	carried(Parked)
	carried(Kept)
	if got := now(); got != "nothing" {
		t.Errorf("nothing has moved: %s", got)
	}
	nine(Kept)
	carried(Delivered)
	if got := now(); got != "9 kept from 8" {
		t.Errorf("with the earlier run's delivered: %s", got)
	}
	nine(Delivered)
	if got := now(); got != "9" {
		t.Errorf("with all delivered: %s", got)
	}
}

func TestADiskLostAfterACutPassGoesBackToItsBegin(t *testing.T) {
	_, open, now := ledgerOf(t, fresh())
	open(ended())(Delivered)
	second := Cursor{Since: began, Pass: &Pass{Started: began.Add(time.Hour), After: "4"}}
	open(second)(Kept)
	if got := now(); got != "4 kept from " {
		t.Errorf("a page of the second pass is kept: %s", got)
	}
}

func TestAnItemThatIsSettledAsDeliveredTwiceStopsTheProgram(t *testing.T) {
	from, three := at("7"), "3"
	from.Pass.KeptFrom = &three
	l := newLedger(8, map[string]Cursor{"iocs": from})
	entry, err := l.open(t.Context(), "iocs", Page{Items: make([]Item, 2), Next: at("8")})
	if err != nil {
		t.Fatal(err)
	}
	for name, settle := range map[string]func(Outcome){"an item": l.ticket("iocs", entry).settle, "what was carried": l.carried()["iocs"]} {
		t.Run(name, func(t *testing.T) {
			for _, o := range []Outcome{Parked, Kept, Delivered} {
				settle(o)
			}
			defer func() {
				if said, _ := recover().(string); !strings.Contains(said, "iocs") {
					t.Errorf("the panic says %q", said)
				}
				if c := l.take()["iocs"]; after(c) == "8" && c.Pass.KeptFrom == nil {
					t.Error("the page counts as delivered, and its second item is not")
				}
			}()
			settle(Delivered)
		})
	}
}
