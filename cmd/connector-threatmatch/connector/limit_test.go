package connector

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status"
	"github.com/opencti-connectors/threatmatch/emit/followup"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// fetching is the story of a run that fetches, with figures as a test wants them.
func fetching(lately status.Lately, broker rabbitmq.Stats) *story {
	s := quiet(0)
	s.stages = func() status.Lately { return lately }
	s.broker = func() rabbitmq.Stats { return broker }
	s.datasets, s.by, s.kept = []*chapter{{dataset: "alerts"}}, "RabbitMQ", func() string { return "" }
	return s
}

func TestABrokerThatIsGoneIsNotTheConnectorsOwnWork(t *testing.T) {
	full := status.Lately{ToEmit: 1, ToTransform: 1}
	for name, tt := range map[string]struct {
		lately  status.Lately
		broker  rabbitmq.Stats
		says    string
		trouble bool
	}{
		"well":               {status.Lately{}, rabbitmq.Stats{Connected: true, Attempts: 1, Sessions: 1}, "ThreatMatch's answers", false},
		"busy":               {full, rabbitmq.Stats{Connected: true, Attempts: 1, Sessions: 1}, "the connector's own work: putting objects in order", false},
		"gone":               {full, rabbitmq.Stats{Attempts: 3, Sessions: 1}, "RabbitMQ, which cannot be reached", true},
		"gone with messages": {status.Lately{}, rabbitmq.Stats{Attempts: 1, Sessions: 1, Unconfirmed: 3}, "RabbitMQ, which cannot be reached", true},
		"refusing":           {full, rabbitmq.Stats{Attempts: 3, Refused: true}, "RabbitMQ, which refuses the credentials", true},
		"not needed yet":     {status.Lately{}, rabbitmq.Stats{Attempts: 3, Sessions: 1}, "ThreatMatch's answers", false},
		"slow OpenCTI":       {status.Lately{ToEmit: 1, Asking: 0.9}, rabbitmq.Stats{Connected: true}, "OpenCTI's answers", false},
		"slow confirms":      {status.Lately{ToEmit: 1, Window: 0.9}, rabbitmq.Stats{Connected: true}, "RabbitMQ's confirms", false},
		"slow transformers":  {status.Lately{ToTransform: 1}, rabbitmq.Stats{Connected: true}, "the connector's own work: making STIX", false},
	} {
		if got := fetching(tt.lately, tt.broker).waitsFor(0); got.Says != tt.says || got.Trouble != tt.trouble {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestARunThatWaitsForTheQueueTakesAsLongAsOpenCTI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, full := quiet(400), true
		s.told = func() opencti.Info { return opencti.Info{Buffering: full} }
		s.imported = func() followup.Imports { return followup.Imports{Rate: followup.Rate{PerSecond: 5}} }
		s.datasets = []*chapter{{dataset: "alerts"}, {dataset: "iocs"}}
		s.Page("alerts", 20, pipeline.Position{Left: 60, Share: 0.25})
		s.Page("iocs", 20, pipeline.Position{Until: time.Now(), Share: 0.5})
		for _, drained := range []bool{false, true} { // it is filled again as soon as there is room
			full = !drained
			waits := s.waitsFor(0)
			left, known := s.left(waits)
			// Twenty indicators are left, and sixty items, of which twenty brought 380 messages.
			if want := (20 + 60*19) / 5 * time.Second; waits.Says != fullQueue || !known || left != want {
				t.Errorf("drained %t: waits for %q, %s left (%t)", drained, waits.Says, left, known)
			}
			time.Sleep(fullFor / 2)
		}
		time.Sleep(fullFor)
		if waits := s.waitsFor(0); waits.Says == fullQueue {
			t.Error("a queue that was full long ago still counts")
		}
	})
}

func TestWhileNothingMovesNoTimeIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := quiet(400)
		s.datasets, s.by, s.kept = []*chapter{{dataset: "alerts"}}, "RabbitMQ", func() string { return "" }
		for second := range 60 {
			s.Page("alerts", 1, pipeline.Position{Left: 99 - second, Share: float64(second+1) / 100})
			time.Sleep(time.Second)
		}
		if left, known := s.left(status.Limit{Says: "ThreatMatch's answers"}); !known || left <= 0 {
			t.Errorf("%s left (%t) while it moves", left, known)
		}
		if left, known := s.left(status.Limit{Says: "RabbitMQ, which cannot be reached", Trouble: true}); known {
			t.Errorf("%s left while nothing moves", left)
		}
	})
}
