package followup

import (
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap/zapcore"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

func largeObject(t *testing.T, n int) pipeline.Object {
	return object(t, fmt.Sprintf(`{"type":"malware","id":"malware--%d","name":%q}`, n, strings.Repeat("m", 60_000)))
}

func TestLargeObjectsThatFailedAreFoundByAsking(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare func(*rig)
		forget  bool   // which large objects the run had sent
		lost    string // the numbers of those that are sent again
		named   int
		told    int // of several of which it is not known which failed
		tries   uint8
		doubted bool
	}{
		"one failed":         {lost: "2", named: 1, tries: 1, prepare: func(*rig) {}},
		"they are not known": {forget: true, doubted: true, prepare: func(*rig) {}},
		"OpenCTI has versions before": {lost: "12", told: 1, prepare: func(r *rig) {
			for _, id := range []string{"malware--1", "malware--2"} {
				rec := r.record(id)
				rec.Mark = index.Renewed
				r.index.Put(index.KeyOf(id), rec)
			}
			r.platform.Hold("malware--2")
		}},
		"OpenCTI holds them": {doubted: true, prepare: func(r *rig) { r.platform.Hold("malware--2") }},
		"OpenCTI does not tell": {doubted: true, prepare: func(r *rig) {
			r.platform.Fault(openctitest.Rule{Operation: "stixObjectOrStixRelationships", To: -1, Do: openctitest.GraphQLError("FORBIDDEN_ACCESS", "no")})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.platform.FailImports(openctitest.Failure{ID: "malware--2", Name: "LOCK_ERROR"})
			if !tt.forget {
				r.NoteLarge(run)([]string{"malware--1", "malware--2"})
				r.NoteLarge(run)([]string{"malware--3"})
			}
			r.deliver(largeObject(t, 1), largeObject(t, 2), largeObject(t, 3))
			r.close()
			tt.prepare(r)
			r.look()
			for n := range 3 {
				id := fmt.Sprintf("malware--%d", n+1)
				lost := strings.Contains(tt.lost, fmt.Sprint(n+1))
				if rec := r.record(id); (rec.Mark == index.Lost) != lost || (lost && rec.Tries != tt.tries) {
					t.Errorf("of %s the index knows %+v", id, rec)
				}
			}
			told := r.logs.FilterLevelExact(zapcore.ErrorLevel).FilterFieldKey("of").Len()
			if r.named() != tt.named || told != tt.told || r.Counts().Failed != int64(tt.named+tt.told) || r.keeper.Doubted()[run] != tt.doubted || len(r.keeper.Works()) > 0 {
				t.Errorf("named %d, the state is %s", r.named(), r.keeper.Text())
			}
		})
	}
}

func TestALargeObjectThatKeepsFailingIsSaidToBeSentAgainOnlyAsLongAsItIs(t *testing.T) {
	r := newRig(t)
	r.platform.FailImports(openctitest.Failure{ID: "malware--1", Name: "LOCK_ERROR"})
	r.NoteLarge(run)([]string{"malware--1"})
	r.deliver(largeObject(t, 1))
	rec := r.record("malware--1")
	rec.Tries = mostTries
	r.index.Put(index.KeyOf("malware--1"), rec)
	r.close()
	r.look()
	if rec := r.record("malware--1"); rec.Mark != index.Refused || r.logs.FilterMessage(triedEnough).Len() != 1 || r.named() != 1 {
		t.Errorf("the index knows %+v; logged %v", rec, r.logs.All())
	}
}

func TestWhichObjectsAreLargeIsKnownToTheNextProcessWithinBounds(t *testing.T) {
	dir := t.TempDir()
	l := ledger{dir: dir}
	for n := range 30 {
		var ids []string
		for i := range 50 {
			ids = append(ids, fmt.Sprintf("report--%d", n*50+i))
		}
		must(t, l.note(1, ids))
	}
	must(t, l.note(2, []string{"report--1", "report--1"}))
	next := ledger{dir: dir}
	if ids, err := next.of(1); err != nil || len(ids) != mostLarge {
		t.Errorf("%d ids, %v", len(ids), err)
	}
	if ids, err := next.of(2); err != nil || len(ids) != 1 {
		t.Errorf("%q, %v", ids, err)
	}
	next.removeAllBut(map[uint32]bool{2: true})
	if ids, err := next.of(1); err != nil || len(ids) != 0 {
		t.Errorf("%d ids are left, %v", len(ids), err)
	}
	if ids, err := next.of(2); err != nil || len(ids) != 1 {
		t.Errorf("%q, %v", ids, err)
	}
}
