package endtoend

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// several is a world whose OpenCTI and RabbitMQ some connectors share, each with an id, a folder and datasets of its own.
type several struct {
	*world
	instances []*instance
}

type instance struct {
	id       string
	settings []string
	sent     []delivery // what workers have taken of it
}

// onlyDatasets are the settings of a connector for some datasets.
func onlyDatasets(names ...string) (settings []string) {
	for _, name := range []string{"profiles", "alerts", "iocs"} {
		settings = append(settings, fmt.Sprintf("THREATMATCH_IMPORT_%s=%t", strings.ToUpper(name), slices.Contains(names, name)))
	}
	return settings
}

func newSeveral(t *testing.T, data threatmatchtest.Data, datasets ...[]string) *several {
	t.Helper()
	s := &several{world: newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}, realBroker: true})}
	for _, names := range datasets {
		i := &instance{id: uuid.NewString()}
		i.settings = append(onlyDatasets(names...), "CONNECTOR_ID="+i.id, "CONNECTOR_STATE_DIR="+filepath.Join(s.stateDir, i.id))
		s.instances = append(s.instances, i)
	}
	return s
}

// imports lets OpenCTI's workers import what is in an instance's queue.
func (s *several) imports(i *instance) (messages int) {
	s.t.Helper()
	bodies := takeFromNode(s.t, s.node.URL(), "push_"+i.id)
	for _, body := range bodies {
		d, err := readDelivery(body)
		must(s.t, err)
		i.sent = append(i.sent, d)
		if outcome := s.platform.Import(body); outcome != openctitest.Imported {
			s.t.Errorf("%s: %s", d.ID, outcome)
		}
	}
	return len(bodies)
}

// round runs each instance to its end, side by side and then the workers, or one after the other with the workers in between.
func (s *several) round(sideBySide bool) (messages int) {
	s.t.Helper()
	var running []*program
	for _, i := range s.instances {
		p := s.start(i.settings...)
		if running = append(running, p); !sideBySide {
			p.wants(exitOK)
			messages += s.imports(i)
		}
	}
	for _, p := range running {
		p.wants(exitOK)
	}
	for _, i := range s.instances {
		messages += s.imports(i)
	}
	return messages
}

// TestSeveralConnectorsBringWhatOneBrings splits the datasets over connectors with ids of their own. An object that refers to what
// another one brings waits for its next run at most.
func TestSeveralConnectorsBringWhatOneBrings(t *testing.T) {
	data := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 77, Profiles: 40, Alerts: 40, Indicators: 500})
	one := newSeveral(t, data, []string{"profiles", "alerts", "iocs"})
	one.round(true)
	for name, sideBySide := range map[string]bool{"side by side": true, "one after the other": false} {
		t.Run(name, func(t *testing.T) {
			// The first to run refers to what the others bring.
			three := newSeveral(t, data, []string{"iocs"}, []string{"alerts"}, []string{"profiles"})
			first, second := three.round(sideBySide), three.round(sideBySide)
			if n := three.round(sideBySide); first == 0 || second == 0 || n != 0 {
				t.Errorf("%d messages, then %d of what had waited, then %d", first, second, n)
			}
			ids := map[string]bool{}
			for _, i := range three.instances {
				checkOnce(t, i.sent)
				for _, d := range i.sent {
					ids[d.ID] = true
				}
			}
			for _, d := range one.instances[0].sent {
				want, _ := one.platform.Object(d.ID)
				got, _ := three.platform.Object(d.ID)
				if !bytes.Equal(asASet(got), asASet(want)) {
					t.Errorf("%s is\n%s\nand of one connector\n%s", d.ID, got, want)
				}
				delete(ids, d.ID)
			}
			if len(ids) > 0 {
				t.Errorf("one connector does not bring %v", ids)
			}
			for _, w := range three.platform.Works() {
				if w.Closed != 1 || w.InError || len(w.Errors) > 0 {
					t.Errorf("a work is %+v", w)
				}
			}
		})
	}
}

// asASet writes an object such that the order in which lists were added to does not matter.
func asASet(text json.RawMessage) []byte {
	var object map[string]any
	if json.Unmarshal(text, &object) != nil {
		return text
	}
	for _, name := range []string{"labels", "external_references", "object_refs"} {
		list, _ := object[name].([]any)
		slices.SortFunc(list, func(a, b any) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		object[name] = slices.CompactFunc(list, func(a, b any) bool { return fmt.Sprint(a) == fmt.Sprint(b) })
	}
	text, _ = json.Marshal(object) // it was JSON
	return text
}

// TestWhatAnotherConnectorBringsMinutesLaterIsMadeGood lets a connector of alerts run on its schedule, before and after one of
// profiles brings what an alert refers to.
func TestWhatAnotherConnectorBringsMinutesLaterIsMadeGood(t *testing.T) {
	t.Parallel()
	own, others := t.TempDir(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		const (
			campaign = "campaign--00000000-0000-4000-8000-000000000001"
			relation = "relationship--00000000-0000-4000-8000-000000000001"
			report   = "report--00000000-0000-4000-8000-000000000001"
		)
		data := new(threatmatchtest.Folder)
		stamps := fmt.Sprintf(`"spec_version":"2.1","created":%q,"modified":%[1]q`, shopDay.Format(time.RFC3339))
		must(t, data.Put("alerts", 1, shopDay, fmt.Appendf(nil, `[{"type":"campaign","id":%[1]q,%[2]s,"name":"c"},`+
			`{"type":"relationship","id":%[3]q,%[2]s,"relationship_type":"uses","source_ref":%[1]q,"target_ref":%[4]q},`+
			`{"type":"report","id":%[5]q,%[2]s,"name":"r","published":"1999-01-01T00:00:00Z","object_refs":[%[1]q,%[4]q,%[3]q]}]`,
			campaign, stamps, relation, malwareID(1), report)))
		putMalware(t, data, 1, shopDay, "")
		alerts := newBubble(t, own, threatmatchtest.Config{Data: data}, rabbitmqtest.Config{}, openctitest.Config{},
			append(onlyDatasets("alerts"), "CONNECTOR_RUN_AND_TERMINATE=false", "CONNECTOR_DURATION_PERIOD=PT10M")...)
		profiles := alerts.another(uuid.NewString(), others, onlyDatasets("profiles")...)
		ctx, cancel := context.WithCancel(t.Context())
		ended := alerts.begin(ctx)
		defer func() {
			cancel()
			must(t, <-ended)
		}()
		reported := func() string {
			text, _ := alerts.platform.Object(report)
			return string(text)
		}

		time.Sleep(25 * time.Minute)
		alerts.work()
		if !alerts.platform.Holds(campaign) || alerts.platform.Holds(relation) || strings.Contains(reported(), malwareID(1)) {
			t.Error("what makes sense alone did not arrive, or something came before what it refers to")
		}
		must(t, profiles.run(t.Context()))
		profiles.work()
		time.Sleep(11 * time.Minute)
		alerts.work()
		if text := reported(); !alerts.platform.Holds(relation) || !strings.Contains(text, malwareID(1)) || !strings.Contains(text, relation) {
			t.Errorf("what waited for the other connector is not whole: %s", text)
		}
		time.Sleep(time.Hour)
		if n := len(alerts.work()); n > 0 {
			t.Errorf("%d messages were sent without anything new", n)
		}
		for _, w := range alerts.platform.Works() {
			if len(w.Errors) > 0 {
				t.Errorf("the workers could not import: %+v", w.Errors)
			}
		}
	})
}
