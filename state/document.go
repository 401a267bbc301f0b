package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

var (
	// ErrUnreadable says that the state in OpenCTI is not one that this connector, or the one before it, wrote.
	ErrUnreadable = errors.New("the connector's state in OpenCTI cannot be read: restore it, or reset the connector in OpenCTI (Data > Ingestion > Connectors) to import everything again")
	// ErrNewer says that a newer release wrote the state.
	ErrNewer = errors.New("the connector's state in OpenCTI was written by a newer release: run that release, or reset the connector in OpenCTI (Data > Ingestion > Connectors) to import everything again")
)

// version is the layout of the state. A release that changes it so that older ones would misread it counts it up.
const version = 1

// document is the state as this connector understands it.
type document struct {
	place
	// index names the index of delivered objects that belongs to the cursors.
	index string
	// runs counts the runs since the state was empty.
	runs uint64
	// works are those that OpenCTI may not have imported all of, oldest first, and doubted the runs of deleted ones.
	works   []noted
	doubted []uint32
	// others are members that somebody else wrote; they are kept.
	others map[string]json.RawMessage
}

func (d document) empty() bool {
	return d.lastRun.IsZero() && len(d.datasets)+len(d.works)+len(d.doubted)+len(d.others) == 0
}

func (d document) clone() document {
	c := d
	c.place = d.place.clone()
	c.works, c.doubted = slices.Clone(d.works), slices.Clone(d.doubted)
	for i := range c.works {
		c.works[i].From = c.works[i].From.clone()
	}
	return c
}

// isNothing reports whether a state text stands for no state.
func isNothing(text string) bool {
	switch strings.TrimSpace(text) {
	case "", "null", "{}", `""`:
		return true
	}
	return false
}

// parse reads a state text. The error wraps ErrUnreadable or ErrNewer.
func parse(text string) (document, error) {
	d := document{place: place{}.clone()}
	if isNothing(text) {
		return d, nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &members); err != nil {
		return d, fmt.Errorf("read state: %w", errors.Join(ErrUnreadable, err))
	}
	var written int
	readers := map[string]func(json.RawMessage) error{
		"version": func(raw json.RawMessage) error { return json.Unmarshal(raw, &written) },
		"last_run": func(raw json.RawMessage) (err error) {
			d.lastRun, err = parseLastRun(raw)
			return err
		},
		"import_from": func(raw json.RawMessage) error { return json.Unmarshal(raw, &d.importFrom) },
		"datasets":    func(raw json.RawMessage) error { return json.Unmarshal(raw, &d.datasets) },
		"index":       func(raw json.RawMessage) error { return json.Unmarshal(raw, &d.index) },
		"runs":        func(raw json.RawMessage) error { return json.Unmarshal(raw, &d.runs) },
		"works":       func(raw json.RawMessage) error { return json.Unmarshal(raw, &d.works) },
		"doubted":     func(raw json.RawMessage) error { return json.Unmarshal(raw, &d.doubted) },
	}
	var bad []error
	for name, raw := range members {
		read, ours := readers[name]
		if !ours {
			if d.others == nil {
				d.others = make(map[string]json.RawMessage)
			}
			d.others[name] = raw
			continue
		}
		if err := read(raw); err != nil {
			bad = append(bad, fmt.Errorf("%s: %w", name, err))
		}
	}
	if written > version {
		return d, fmt.Errorf("read state of version %d: %w", written, ErrNewer)
	}
	bad = append(bad, d.check()...)
	if len(bad) > 0 {
		return d, fmt.Errorf("read state: %w", errors.Join(append(bad, ErrUnreadable)...))
	}
	return d, nil
}

// check finds what no release would have written.
func (d *document) check() []error {
	var bad []error
	if d.datasets == nil {
		d.datasets = make(map[string]pipeline.Cursor)
	}
	if d.lastRun.IsZero() && len(d.datasets)+len(d.works)+len(d.doubted) == 0 {
		bad = append(bad, errors.New("it says neither last_run nor datasets"))
	}
	bad = append(bad, d.place.check()...)
	for _, w := range d.works {
		bad = append(bad, w.From.check()...)
	}
	return bad
}

func (p place) check() []error {
	var bad []error
	for name, c := range p.datasets {
		if c.Since.IsZero() {
			bad = append(bad, fmt.Errorf("dataset %s has no since", name))
		}
		if c.Pass != nil && c.Pass.Started.IsZero() {
			bad = append(bad, fmt.Errorf("the pass of dataset %s has no start", name))
		}
	}
	return bad
}

// parseLastRun reads ISO 8601 text, with or without an offset, or unix seconds, as older releases of the upstream
// connector wrote them. null is no last run.
func parseLastRun(raw json.RawMessage) (time.Time, error) {
	var seconds float64
	var text string
	switch {
	case string(raw) == "null":
		return time.Time{}, nil
	case json.Unmarshal(raw, &text) == nil:
		if t, ok := pipeline.ParseTime(text); ok {
			return t, nil
		}
		return time.Time{}, fmt.Errorf("%q is not a time", text)
	case json.Unmarshal(raw, &seconds) == nil:
		const latest = 253402300799 // the end of the year 9999
		if seconds <= 0 || seconds > latest {
			return time.Time{}, fmt.Errorf("%s is not a time in seconds", raw)
		}
		whole, fraction := math.Modf(seconds)
		return time.Unix(int64(whole), int64(fraction*1e9)).UTC(), nil
	}
	return time.Time{}, fmt.Errorf("%s is not a time", raw)
}

// text writes the state, members in a fixed order.
func (d document) text() string {
	if d.empty() {
		return "null"
	}
	var b bytes.Buffer
	separator := byte('{')
	member := func(name string, value any) {
		b.WriteByte(separator)
		separator = ','
		key, err := json.Marshal(name)
		if err != nil {
			panic("marshal state: " + err.Error()) // cannot happen: it is a text
		}
		raw, err := json.Marshal(value)
		if err != nil {
			panic("marshal state: " + err.Error()) // cannot happen: times are within the years 1 to 9999
		}
		fmt.Fprintf(&b, "%s:%s", key, raw)
	}
	if !d.lastRun.IsZero() {
		member("last_run", d.lastRun.UTC().Format("2006-01-02T15:04:05-07:00"))
	}
	if len(d.datasets) > 0 {
		member("datasets", d.datasets)
	}
	if !d.importFrom.IsZero() {
		member("import_from", d.importFrom)
	}
	if d.index != "" {
		member("index", d.index)
	}
	if d.runs > 0 {
		member("runs", d.runs)
	}
	if len(d.works) > 0 {
		member("works", d.works)
	}
	if len(d.doubted) > 0 {
		member("doubted", d.doubted)
	}
	member("version", version)
	names := make([]string, 0, len(d.others))
	for name := range d.others {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		member(name, d.others[name])
	}
	b.WriteByte('}')
	return b.String()
}

// settleLastRun moves lastRun on when every enabled dataset has completed a pass and owes nothing.
func (d *document) settleLastRun(enabled []string) {
	var earliest time.Time
	for _, name := range enabled {
		c, found := d.datasets[name]
		if !found || c.Pass != nil || len(c.Failed) > 0 {
			return
		}
		if earliest.IsZero() || c.Since.Before(earliest) {
			earliest = c.Since
		}
	}
	d.importFrom = time.Time{}
	if earliest = earliest.UTC().Truncate(time.Second); earliest.After(d.lastRun) {
		d.lastRun = earliest
	}
}

// sameText reports whether two state texts say the same.
func sameText(a, b string) bool {
	if a == b {
		return true
	}
	var x, y bytes.Buffer
	if json.Compact(&x, []byte(a)) != nil || json.Compact(&y, []byte(b)) != nil {
		return false
	}
	return bytes.Equal(x.Bytes(), y.Bytes())
}
