package status

import (
	"slices"
	"strings"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// Repeats bounds the lines about the same thing in a run: the first [pipeline.MaxNamed] show what they have in common, and the
// rest is a number. Lines at debug level are not bounded.
type Repeats struct {
	mu   sync.Mutex
	seen map[string]*repeated // by message and reason
}

// repeated is what is said over and over.
type repeated struct {
	message string
	level   zapcore.Level
	lines   int
}

// Bound returns a logger whose lines are counted, and left out beyond the bound.
func (r *Repeats) Bound(log *zap.Logger) *zap.Logger {
	return log.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core { return countedCore{c, r} }))
}

// Tell says how many lines were left out since it was last called.
func (r *Repeats) Tell(log *zap.Logger) {
	r.mu.Lock()
	seen := r.seen
	r.seen = nil
	r.mu.Unlock()
	var beyond []*repeated
	for _, s := range seen {
		if s.lines > pipeline.MaxNamed {
			beyond = append(beyond, s)
		}
	}
	slices.SortFunc(beyond, func(a, b *repeated) int { return strings.Compare(a.message, b.message) })
	for _, s := range beyond {
		log.Log(s.level, "more lines like others of this run were left out", zap.String("like", s.message), zap.Int("lines", s.lines-pipeline.MaxNamed))
	}
}

// passes counts a line and reports whether it is to be written.
func (r *Repeats) passes(entry zapcore.Entry, fields []zapcore.Field) bool {
	if entry.Level < zapcore.InfoLevel {
		return true
	}
	key := entry.Message
	for _, f := range fields {
		if f.Key == "reason" {
			key += "\n" + f.String // what has several reasons is several things
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = map[string]*repeated{}
	}
	s := r.seen[key]
	if s == nil {
		s = &repeated{message: entry.Message, level: entry.Level}
		r.seen[key] = s
	}
	s.lines++
	return s.lines <= pipeline.MaxNamed
}

// countedCore leaves out what Repeats does not let pass.
type countedCore struct {
	zapcore.Core
	repeats *Repeats
}

// With adds fields to all lines to come.
func (c countedCore) With(fields []zapcore.Field) zapcore.Core {
	return countedCore{c.Core.With(fields), c.repeats}
}

// Check adds the core to those that a line is written to.
func (c countedCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

// Write writes a line that passes.
func (c countedCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	if !c.repeats.passes(entry, fields) {
		return nil
	}
	return c.Core.Write(entry, fields)
}
