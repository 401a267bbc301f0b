package connector

import (
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/history"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
)

// past is what lasts of runs, and what of that is on disk.
type past struct {
	history.History
	dir     string
	written time.Time // the time of the rate that is on disk
}

// rateWrittenEvery is how old the rate on disk may be while OpenCTI imports.
const rateWrittenEvery = time.Minute

// recall takes up what earlier processes have left. What cannot be read is forgotten: nothing depends on it.
func (p *program) recall() {
	dir := p.memory.Dir()
	h, err := history.Read(dir)
	if err != nil {
		p.log.Warn("the history of runs begins anew", zap.Error(err))
	}
	p.past = past{h, dir, h.ImportRate.At}
	p.status.Remembers(h.Runs)
	p.imported.Recall(h.ImportRate)
}

// remember notes a run that has ended.
func (p *program) remember(run snapshot.Run) {
	p.past.Add(run)
	p.status.Remembers(p.past.Runs)
	p.writePast()
}

// rememberRate notes how fast OpenCTI imports, where what is on disk was measured so much earlier.
func (p *program) rememberRate(earlier time.Duration) {
	if at := p.imported.Imports().Rate.At; at.Sub(p.past.written) > earlier {
		p.writePast()
	}
}

func (p *program) writePast() {
	p.past.ImportRate = p.imported.Imports().Rate
	p.past.written = p.past.ImportRate.At
	if err := p.past.Write(p.past.dir); err != nil {
		p.log.Warn("the history of runs is not kept; make room in CONNECTOR_STATE_DIR", zap.Error(err))
	}
}
