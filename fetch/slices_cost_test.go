package fetch

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// slowFeed is a feed of many indicators, of which each page takes a time.
type slowFeed struct {
	moments []time.Time // in order
	size    int
	latency time.Duration
	text    string // which makes an indicator as large as usual
	now     time.Time

	mu         sync.Mutex
	calls      int
	under, top int // way, and most at a time
}

func (f *slowFeed) Now() time.Time       { return f.now }
func (f *slowFeed) Ahead() time.Duration { return 0 }

func (f *slowFeed) Groups(context.Context) ([]threatmatch.Group, error) {
	return []threatmatch.Group{{ID: "2", Name: "All content"}}, nil
}

func (f *slowFeed) IndicatorsWithin(ctx context.Context, _, after string, _ func(int64) error) (page threatmatch.IndicatorPage, err error) {
	bound, err := time.Parse(time.RFC3339Nano, after)
	if err != nil {
		return page, err
	}
	f.count(1)
	defer f.count(-1)
	select {
	case <-time.After(f.latency):
	case <-ctx.Done():
		return page, ctx.Err()
	}
	first := sort.Search(len(f.moments), func(i int) bool { return f.moments[i].After(bound) })
	last := min(first+f.size, len(f.moments))
	for i := first; i < last; i++ {
		page.Objects = append(page.Objects, fmt.Appendf(nil, `{"type":"indicator","id":"%d","modified":%q,"description":%s}`, i, f.moments[i].Format(time.RFC3339Nano), f.text))
	}
	page.More = last < len(f.moments)
	return page, nil
}

func (f *slowFeed) count(by int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls += max(0, by)
	f.under += by
	f.top = max(f.top, f.under)
}

// tenYears of indicators end some time before now.
const tenYears = 10 * 365 * 24 * time.Hour

// histories draw moments within ten years: how many of a whole lie where.
var histories = map[string]func(r *rand.Rand, n int) []time.Duration{
	"uniform": func(r *rand.Rand, n int) (at []time.Duration) {
		for range n {
			at = append(at, time.Duration(r.Int64N(int64(tenYears))))
		}
		return at
	},
	"growing": func(r *rand.Rand, n int) (at []time.Duration) {
		for range n {
			at = append(at, time.Duration(float64(tenYears)*max(r.Float64(), r.Float64(), r.Float64())))
		}
		return at
	},
	"weekly": func(r *rand.Rand, n int) (at []time.Duration) {
		for len(at) < n {
			t := time.Duration(r.Int64N(int64(tenYears)))
			hour, day := int(t/time.Hour)%24, int(t/(24*time.Hour))%7
			if day < 5 && hour > 7 && hour < 18 || r.IntN(20) == 0 {
				at = append(at, t)
			}
		}
		return at
	},
	"batches": func(r *rand.Rand, n int) (at []time.Duration) {
		for len(at) < n {
			t := time.Duration(r.Int64N(int64(tenYears)))
			for range 1 + r.IntN(400) {
				at = append(at, t)
				t += time.Duration(r.IntN(200)) * time.Millisecond
			}
		}
		return at
	},
	"bulk loads": func(r *rand.Rand, n int) (at []time.Duration) {
		loads := 4
		for i := range loads {
			t := tenYears*time.Duration(2*i+1)/8 + time.Duration(r.Int64N(int64(tenYears/10)))
			for k := range n / 2 / loads {
				at = append(at, t)
				if k%60 == 0 { // so many share a moment
					t += time.Duration(1+r.IntN(2000)) * time.Millisecond
				}
			}
		}
		for len(at) < n {
			at = append(at, time.Duration(r.Int64N(int64(tenYears))))
		}
		return at
	},
	"gaps of years": func(r *rand.Rand, n int) (at []time.Duration) {
		for range n {
			year := tenYears / 10
			at = append(at, []time.Duration{0, 4 * year, 5 * year, 9 * year}[r.IntN(4)]+time.Duration(r.Int64N(int64(year/4))))
		}
		return at
	},
	"sixty days of ten years": func(r *rand.Rand, n int) (at []time.Duration) {
		for range n {
			at = append(at, tenYears*3/4+time.Duration(r.Int64N(int64(60*24*time.Hour))))
		}
		return at
	},
}

func drawFeed(history string, seed uint64, pages, size int) *slowFeed {
	r := rand.New(rand.NewPCG(seed, 1))
	at := histories[history](r, pages*(size-1))
	slices.Sort(at)
	f := &slowFeed{size: size, text: strconv.Quote(strings.Repeat("intelligence ", 80)), latency: 50 * time.Millisecond, now: noon}
	for _, t := range at {
		f.moments = append(f.moments, noon.Add(t-tenYears).Truncate(time.Millisecond))
	}
	return f
}

// cost reads a feed and returns the calls and the time that it took.
func (f *slowFeed) cost(t *testing.T, concurrency int) (calls int, took time.Duration) {
	began := time.Now()
	f.calls = 0
	next := 0
	seen := make([]bool, len(f.moments))
	for page, err := range Indicators(f, Options{Concurrency: concurrency}).Pages(t.Context(), pipeline.Cursor{Since: noon.Add(-tenYears - time.Hour)}) {
		if err != nil || len(page.Problems) > 0 {
			t.Fatal(err, page.Problems)
		}
		for _, i := range page.Items {
			var n int
			if _, err := fmt.Sscan(i.ID, &n); err != nil || seen[n] {
				t.Fatalf("%s came again", i.ID)
			}
			seen[n] = true
			next++
		}
	}
	if next != len(f.moments) {
		t.Fatalf("%d of %d came", next, len(f.moments))
	}
	return f.calls, time.Since(began)
}

// TestSlicesAreFasterThanOneCursorAndTakeHardlyMoreCalls reads ten years at 50 ms a page, eight slices at a time. Where all comes
// in batches the density of one tells nothing of the next, which costs more calls; and what lies ready behind a long one leaves
// those who read it less room.
func TestSlicesAreFasterThanOneCursorAndTakeHardlyMoreCalls(t *testing.T) {
	for history := range histories {
		for _, want := range []struct {
			pages       int
			times, more float64 // so many times as fast, with so many calls more of a hundred
		}{{300, 5.5, 14}, {3000, 6, 10}} {
			if history == "batches" || history == "bulk loads" {
				want.times, want.more = want.times-1, want.more+10
			}
			if testing.Short() && want.pages > 300 {
				continue
			}
			t.Run(fmt.Sprint(history, " ", want.pages), func(t *testing.T) {
				f := drawFeed(history, 1, want.pages, 100)
				var one, many int
				var slow, fast time.Duration
				synctest.Test(t, func(t *testing.T) { one, slow = f.cost(t, 1) })
				synctest.Test(t, func(t *testing.T) { many, fast = f.cost(t, 8) })
				more, times := 100*float64(many-one)/float64(one), float64(slow)/float64(fast)
				t.Logf("%d calls, side by side %d, which is %.1f%% more, and %.2f times as fast", one, many, more, times)
				if more > want.more || times < want.times {
					t.Errorf("wanted at most %v%% more, and at least %v times as fast", want.more, want.times)
				}
				if f.top > 8 {
					t.Errorf("%d calls at a time", f.top)
				}
			})
		}
	}
}

// What lies ready has its room: more slices than fit into it would keep each other from being read, all but the first.
func TestSlicesAreFasterAsLongAsThereIsRoomForMoreOfThem(t *testing.T) {
	f := drawFeed("uniform", 1, 600, 100)
	var few, many time.Duration
	synctest.Test(t, func(t *testing.T) { _, few = f.cost(t, 8) })
	synctest.Test(t, func(t *testing.T) { _, many = f.cost(t, 32) })
	fit := int(defaultRoom / 8 * 5 / (slicePages / 2 * f.size * len(f.text)))
	if most := fit + 1; f.top > most { // the walk asks as well
		t.Errorf("%d calls at a time, though only the slices of %d fit", f.top, most)
	}
	if many > few {
		t.Errorf("32 at a time took %v, and 8 took %v", many, few)
	}
}
