package status

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

const (
	mostProblems = 30  // what a page shows
	mostOfText   = 600 // bytes of each of its texts
)

// problems are the last lines of the log at warn and above, whatever the log's level.
type problems struct {
	secrets *remote.Redactor
	mu      sync.Mutex
	last    []snapshot.Problem // oldest first
}

// Remember returns a logger whose warnings and errors the status shows, too.
func (s *Status) Remember(log *zap.Logger) *zap.Logger {
	return log.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core {
		return zapcore.NewTee(levelledCore{c}, levelledCore{problemsCore{s.problems, nil}})
	}))
}

// levelledCore writes nothing below its level even when it is not asked before: a core around a tee asks whether one of them takes a
// line, and hands it to all.
type levelledCore struct{ zapcore.Core }

// With adds fields to all lines to come.
func (c levelledCore) With(fields []zapcore.Field) zapcore.Core {
	return levelledCore{c.Core.With(fields)}
}

// Write writes a line of its level.
func (c levelledCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	if !c.Enabled(entry.Level) {
		return nil
	}
	return c.Core.Write(entry, fields)
}

// newestFirst lists them.
func (p *problems) newestFirst() []snapshot.Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	listed := slices.Clone(p.last)
	slices.Reverse(listed)
	return listed
}

func (p *problems) add(one snapshot.Problem) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if name, over := strings.CutSuffix(one.Says, remote.AnswersAgain); over {
		one.Error, one.Over = false, true // it is told at error so that whoever was told of the trouble is told of its end
		for i, before := range p.last {
			p.last[i].Over = before.Over || strings.HasPrefix(before.Says, name+" ")
		}
	}
	p.last = append(p.last, one)
	if len(p.last) > mostProblems {
		p.last = slices.Delete(p.last, p.leastWorth(), p.leastWorth()+1)
	}
}

// leastWorth is the oldest warning, unless there are more errors than warnings: neither is to push out the other.
func (p *problems) leastWorth() int {
	errors := 0
	for _, one := range p.last {
		if one.Error {
			errors++
		}
	}
	return max(0, slices.IndexFunc(p.last, func(one snapshot.Problem) bool { return one.Error == (errors > mostProblems/2) }))
}

// problemsCore hands lines to problems.
type problemsCore struct {
	*problems
	fields []zapcore.Field // of all lines
}

// Enabled takes warnings and errors.
func (problemsCore) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel }

// With adds fields to all lines to come.
func (c problemsCore) With(fields []zapcore.Field) zapcore.Core {
	return problemsCore{c.problems, slices.Concat(c.fields, fields)}
}

// Check adds the core to those that a line is written to.
func (c problemsCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

// Write remembers a line.
func (c problemsCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	said := zapcore.NewMapObjectEncoder()
	for _, f := range errorsOnce(slices.Concat(c.fields, fields)) {
		f.AddTo(said)
	}
	text := func(names ...string) string {
		for _, name := range names {
			if v, there := said.Fields[name]; there {
				return c.cut(fmt.Sprint(v))
			}
		}
		return ""
	}
	c.add(snapshot.Problem{
		At: entry.Time.UTC(), Error: entry.Level >= zapcore.ErrorLevel, Says: c.cut(entry.Message),
		Dataset: text("dataset"), Item: text("item", "object", "work"), Reason: text("error", "reason"),
	})
	return nil
}

// Sync has nothing to do.
func (problemsCore) Sync() error { return nil }

// Shown makes a text safe to show, and short enough.
func (s *Status) Shown(text string) string { return problemsCore{s.problems, nil}.cut(text) }

// cut makes a text safe to show, and short enough.
func (c problemsCore) cut(text string) string {
	return boundedCore{secrets: c.secrets}.cutText(c.secrets.Redact(text), mostOfText)
}
