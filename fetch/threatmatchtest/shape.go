package threatmatchtest

import (
	"iter"
	"strconv"
	"time"
)

// Shape says what to generate. The same shape gives the same bytes, always.
type Shape struct {
	Seed                                  uint64
	Profiles, Alerts, Reports, Indicators int
	// Start is the date of the first item and of the first indicator, 2026-01-01 UTC if zero.
	Start time.Time
	// Span is the time over which items and indicators are spread, 60 days if zero. It is stretched where the indicators
	// would else be less than a microsecond apart.
	Span time.Duration
	// TieGroup is how many indicators in a row share one modified, to the microsecond: 1, which is none, if zero.
	TieGroup int
}

// What a Shape that leaves them out stands for.
var defaultStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const defaultSpan = 60 * 24 * time.Hour

// Generated is intelligence that is made when it is asked for; it holds none of it.
type Generated struct {
	seed  uint64
	count [3]int // by dataset
	start int64  // of everything, in µs since 1970
	span  int64  // µs
	tie   int
	total int   // indicators
	step  int64 // µs between two groups of indicators
	pool  [kinds]int
}

// dataset numbers the three datasets with items.
type dataset int

const (
	profiles dataset = iota
	alerts
	reports
)

// firstID is the id of a dataset's first item; the others follow.
var firstID = [...]int64{profiles: 10_000, alerts: 50_000, reports: 90_000}

func datasetOf(name string) (dataset, bool) {
	switch name {
	case "profiles":
		return profiles, true
	case "alerts":
		return alerts, true
	case "reports":
		return reports, true
	}
	return 0, false
}

// Generate returns the intelligence of a shape.
func Generate(shape Shape) *Generated {
	if shape.Start.IsZero() {
		shape.Start = defaultStart
	}
	if shape.Span <= 0 {
		shape.Span = defaultSpan
	}
	g := &Generated{
		seed:  shape.Seed,
		count: [3]int{max(0, shape.Profiles), max(0, shape.Alerts), max(0, shape.Reports)},
		start: shape.Start.UnixMicro(),
		span:  shape.Span.Microseconds(),
		tie:   max(1, shape.TieGroup),
		total: max(0, shape.Indicators),
	}
	g.step = max(1, g.span/int64(max(1, g.groups())))
	// What items share grows with their number where the world has more of it, and ends where it has not: there are some
	// hundred techniques and countries, but always another malware or vulnerability.
	items := g.count[profiles] + g.count[alerts] + g.count[reports]
	g.pool = [kinds]int{
		actor:         g.count[profiles],
		malware:       100 + items*3/10,
		attackPattern: min(700, 100+items/5),
		tool:          min(400, 30+items/30),
		sector:        80,
		location:      60,
		vulnerability: 100 + items/4,
		campaign:      10 + items/20,
		vendor:        3,
		marking:       3,
	}
	return g
}

// groups is the number of different modified that indicators have.
func (g *Generated) groups() int { return (g.total + g.tie - 1) / g.tie }

// date is when item i of a dataset was changed, in µs; it grows with i.
func (g *Generated) date(set dataset, i int) int64 {
	return g.start + g.span/int64(max(1, g.count[set]))*int64(i)
}

// IDs implements Data.
func (g *Generated) IDs(name string, since time.Time) iter.Seq[int64] {
	set, ok := datasetOf(name)
	return func(yield func(int64) bool) {
		if !ok || g.count[set] == 0 {
			return
		}
		first := 0
		if behind := ceilMicro(since) - g.start; behind > 0 {
			step := max(1, g.span/int64(g.count[set]))
			first = int(min((behind+step-1)/step, int64(g.count[set])))
		}
		for i := first; i < g.count[set]; i++ {
			if !yield(firstID[set] + int64(i)) {
				return
			}
		}
	}
}

// Item implements Data.
func (g *Generated) Item(name, id string) ([]byte, bool) {
	set, ok := datasetOf(name)
	n, err := strconv.ParseInt(id, 10, 64)
	if !ok || err != nil || n < firstID[set] || n >= firstID[set]+int64(g.count[set]) {
		return nil, false
	}
	return g.item(set, int(n-firstID[set])), true
}

// Indicators implements Data.
func (g *Generated) Indicators(after time.Time, inclusive bool, limit int) ([][]byte, bool) {
	first := g.firstIndicator(after, inclusive)
	last := first + max(0, min(limit, g.total-first))
	p := pen{g: g, b: make([]byte, 0, (last-first)*indicatorRoom)}
	end := make([]int, 0, last-first)
	for i := first; i < last; i++ {
		p.indicator(i)
		end = append(end, len(p.b))
	}
	objects := make([][]byte, len(end))
	from := 0
	for i, to := range end {
		objects[i] = p.b[from:to:to]
		from = to
	}
	return objects, last < g.total
}

// firstIndicator returns the number of the first indicator behind (or at) a time.
func (g *Generated) firstIndicator(after time.Time, inclusive bool) int {
	bound := ceilMicro(after)
	if bound != after.UnixMicro() {
		inclusive = true // at a whole microsecond that lies behind after
	}
	group := min(max(0, (bound-g.start)/g.step), int64(g.groups()))
	if at := g.modified(int(group)); at < bound || at == bound && !inclusive {
		group++
	}
	return min(int(group)*g.tie, g.total)
}

// modified is the time of a group of indicators in µs; it grows with the group.
func (g *Generated) modified(group int) int64 {
	jitter := int64(hash(g.seed, uint64(tick), uint64(group)) % uint64(g.step))
	return g.start + g.step*int64(group) + jitter
}

func ceilMicro(t time.Time) int64 {
	us := t.UnixMicro()
	if t.Nanosecond()%1000 != 0 {
		us++
	}
	return us
}
