package pipeline

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.uber.org/zap"
)

// Reason says in a few words, always the same for one kind of fault, why something is left out: "unknown type".
type Reason string

// Unreadable is the reason where an error of a [Transformer] gives none: the whole item could not be read.
const Unreadable Reason = "item that cannot be read"

// MaxNamed is how many things that are left out the log names for one reason and run; the rest is a number. It is enough to
// see what they have in common, and a feed that is wrong throughout does not drown the log.
const MaxNamed = 20

// LeftOut is the error of a [Transformer] that tells its reason. One error may stand for several things that are left out
// for one reason.
type LeftOut interface {
	error
	LeftOut() (why Reason, number int)
}

// Intended is a [LeftOut] that can tell that somebody wants it so: it is counted, and nobody has to look into it.
type Intended interface {
	LeftOut
	Intended() bool
}

// reasonOf returns what an error says of what was left out.
func reasonOf(err error) (why Reason, number int) {
	var told LeftOut
	if errors.As(err, &told) {
		return told.LeftOut()
	}
	return Unreadable, 1
}

// Tally counts what was left out, by reason.
type Tally map[Reason]int64

// With returns the tally with so many more of one reason.
func (t Tally) With(why Reason, number int64) Tally {
	if number == 0 {
		return t
	}
	sum := Tally{why: number}
	for reason, n := range t {
		sum[reason] += n
	}
	return sum
}

// Total is the number of all that was left out.
func (t Tally) Total() (total int64) {
	for _, n := range t {
		total += n
	}
	return total
}

// Reasons are the reasons, the most frequent first.
func (t Tally) Reasons() []Reason {
	return slices.SortedFunc(maps.Keys(t), func(a, b Reason) int { return cmp.Or(cmp.Compare(t[b], t[a]), cmp.Compare(a, b)) })
}

// String is what a person reads: "12 × relation to itself, 3 × unknown type".
func (t Tally) String() string {
	parts := make([]string, 0, len(t))
	for _, why := range t.Reasons() {
		parts = append(parts, fmt.Sprintf("%d × %s", t[why], why))
	}
	return strings.Join(parts, ", ")
}

// Fields are the counts for a log line: relation_to_itself, unknown_type.
func (t Tally) Fields() []zap.Field {
	fields := make([]zap.Field, 0, len(t))
	for _, why := range t.Reasons() {
		fields = append(fields, zap.Int64(strings.ReplaceAll(string(why), " ", "_"), t[why]))
	}
	return fields
}

// leave counts what the transformer left out of an item, and names it in the log as long as that is of use.
func (r *importRun) leave(item Item, err error) {
	errs := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		errs = joined.Unwrap()
	}
	for _, e := range errs {
		why, number := reasonOf(e)
		r.mu.Lock()
		r.report.Datasets[item.Dataset].Rejected += number
		before := r.report.LeftOut[why]
		r.report.LeftOut[why] += int64(number)
		r.mu.Unlock()
		if before >= MaxNamed {
			continue
		}
		about := []zap.Field{zap.String("reason", string(why)), zap.String("dataset", item.Dataset), zap.String("item", item.ID), zap.Error(e)}
		var broken Broken
		if errors.As(e, &broken) && broken.Stack() != nil {
			r.cfg.Log.Error("left out what the connector fails over", append(about, zap.ByteString("stack", broken.Stack()))...)
			continue
		}
		if chosen, ok := e.(Intended); ok && chosen.Intended() {
			r.cfg.Log.Debug("left out by a filter", about...)
			continue
		}
		r.cfg.Log.Warn("left out what cannot be imported", about...)
	}
}
