package threatmatchtest

import (
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

// kind is what a generated thing is; together with an index it is its identity.
type kind int

const (
	actor kind = iota // a threat-actor or an intrusion-set: one for each profile
	malware
	attackPattern
	tool
	sector // an identity
	location
	vulnerability
	campaign
	vendor // an identity that objects are created by
	marking
	kinds // the number of kinds that items share

	indicator
	profileItem
	alertItem
	reportItem
	profileRelation
	alertRelation
	reportRelation
	nowhere // what relations that lead nowhere point at
	tick    // the moments of indicators
)

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

// world is the numbers that all intelligence of a shape is made from.
type world struct {
	seed  uint64
	count [3]int // by dataset
	start int64  // of everything, in µs since 1970
	span  int64  // µs
	tie   int
	total int   // indicators
	step  int64 // µs between two groups of indicators
	pool  [kinds]int
}

func newWorld(shape Shape) world {
	if shape.Start.IsZero() {
		shape.Start = defaultStart
	}
	if shape.Span <= 0 {
		shape.Span = defaultSpan
	}
	w := world{
		seed:  shape.Seed,
		count: [3]int{max(0, shape.Profiles), max(0, shape.Alerts), max(0, shape.Reports)},
		start: shape.Start.UnixMicro(),
		span:  shape.Span.Microseconds(),
		tie:   max(1, shape.TieGroup),
		total: max(0, shape.Indicators),
	}
	w.step = max(1, w.span/int64(max(1, w.groups())))
	// What items share grows with their number where the world has more of it, and ends where it has not: there are some
	// hundred techniques and countries, but always another malware or vulnerability.
	items := w.count[profiles] + w.count[alerts] + w.count[reports]
	w.pool = [kinds]int{
		actor:         w.count[profiles],
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
	return w
}

// groups is the number of different modified that indicators have.
func (w *world) groups() int { return (w.total + w.tie - 1) / w.tie }

// date is when item i of a dataset was changed, in µs; it grows with i.
func (w *world) date(set dataset, i int) int64 {
	return w.start + w.span/int64(max(1, w.count[set]))*int64(i)
}

// firstIndicator returns the number of the first indicator behind (or at) a time.
func (w *world) firstIndicator(after time.Time, inclusive bool) int {
	bound := ceilMicro(after)
	if bound != after.UnixMicro() {
		inclusive = true // at a whole microsecond that lies behind after
	}
	group := min(max(0, (bound-w.start)/w.step), int64(w.groups()))
	if at := w.modified(int(group)); at < bound || at == bound && !inclusive {
		group++
	}
	return min(int(group)*w.tie, w.total)
}

// modified is the time of a group of indicators in µs; it grows with the group.
func (w *world) modified(group int) int64 {
	jitter := int64(hash(w.seed, uint64(tick), uint64(group)) % uint64(w.step))
	return w.start + w.step*int64(group) + jitter
}

func ceilMicro(t time.Time) int64 {
	us := t.UnixMicro()
	if t.Nanosecond()%1000 != 0 {
		us++
	}
	return us
}
