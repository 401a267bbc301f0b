package endtoend

import (
	"errors"
	"testing"

	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// TestARunOutlivesTheNodesOfItsCluster kills, of a real cluster of three, the node that the connector is connected to, twice, while
// OpenCTI uses the third.
func TestARunOutlivesTheNodesOfItsCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("starting a RabbitMQ cluster takes seconds")
	}
	cluster, err := rabbitmqtest.StartCluster(t.Context(), t.TempDir(), 3)
	if errors.Is(err, rabbitmqtest.ErrNotInstalled) {
		t.Skip(err)
	}
	must(t, err)
	t.Cleanup(func() {
		if err := cluster.Close(); err != nil {
			t.Error(err)
		}
	})
	first, second, third := cluster.Nodes[0], cluster.Nodes[1], cluster.Nodes[2]
	data := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 29, Profiles: 90, Alerts: 90})
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}, node: third})
	w.env["MQ_HOST"] = first.Addr() + "," + second.Addr()
	g := w.itemGate(data, 30)
	p := w.start()
	g.settles(w, data)
	must(t, first.Kill())
	g.move(60)
	g.settles(w, data) // the second confirms them, for the first is still away
	must(t, first.Start(t.Context()))
	must(t, second.Kill())
	g.lift()
	p.wants(exitOK)
	messages := w.take()
	checkOrder(t, messages)
	checkHeld(t, messages, held(t, data, defaultMapping))
	_, repeats := byID(messages)
	t.Logf("%d messages, %d of them repeats; the run took %s", len(messages), repeats, p.took)
	if work := w.lastWork(); work.Closed != 1 || work.InError || work.Expected < len(messages)-repeats {
		t.Errorf("the work is %+v, %d messages", work, len(messages))
	}
}
