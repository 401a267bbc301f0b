package endtoend

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// bulk is intelligence that is made when it is asked for, so that what memory these tests find is the connector's own.
type bulk struct {
	items map[string]int // by dataset
	item  func(dataset string, id int) []byte
}

// IDs implements threatmatchtest.Data.
func (b bulk) IDs(dataset string, _ time.Time) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		for id := range b.items[dataset] {
			if !yield(int64(id + 1)) {
				return
			}
		}
	}
}

// Item implements threatmatchtest.Data.
func (b bulk) Item(dataset, id string) ([]byte, bool) {
	n, err := strconv.Atoi(id)
	if err != nil || n < 1 || n > b.items[dataset] {
		return nil, false
	}
	return b.item(dataset, n), true
}

// Indicators implements threatmatchtest.Data: there are none.
func (b bulk) Indicators(time.Time, bool, int) ([][]byte, bool) { return nil, false }

// bulkID is an id of a type that tells a dataset's item and the number of an object in it.
func bulkID(kind, dataset string, item, number int) string {
	return fmt.Sprintf("%s--%08x-%04x-4000-8000-%012x", kind, item, len(dataset), number)
}

// tools is an item of so many tools that each have so many bytes of text.
func tools(count, text int) func(string, int) []byte {
	filling := bytes.Repeat([]byte("text "), text/5)
	return func(dataset string, item int) []byte {
		b := make([]byte, 0, count*(text+250)+2)
		b = append(b, '[')
		for i := range count {
			if i > 0 {
				b = append(b, ',')
			}
			b = fmt.Appendf(b, `{"type":"tool","spec_version":"2.1","id":%q,"created":"2025-04-17T15:24:00.000Z","modified":"2025-04-17T15:24:00.000Z","name":"%s %d %d","description":"%s"}`,
				bulkID("tool", dataset, item, i), dataset, item, i, filling)
		}
		return append(b, ']')
	}
}

// star is an item of a hub's relations to tools of the same item; the hub itself is the last item.
func star(items, perItem int) bulk {
	hub := bulkID("intrusion-set", "", 0, 0)
	return bulk{items: map[string]int{"profiles": items + 1}, item: func(dataset string, item int) []byte {
		if item > items {
			return fmt.Appendf(nil, `[{"type":"intrusion-set","spec_version":"2.1","id":%q,"created":"2025-04-17T15:24:00.000Z","modified":"2025-04-17T15:24:00.000Z","name":"hub"}]`, hub)
		}
		var objects [][]byte
		for i := range perItem {
			tool := bulkID("tool", dataset, item, i)
			objects = append(objects,
				fmt.Appendf(nil, `{"type":"tool","spec_version":"2.1","id":%q,"created":"2025-04-17T15:24:00.000Z","modified":"2025-04-17T15:24:00.000Z","name":"tool %d %d"}`, tool, item, i),
				fmt.Appendf(nil, `{"type":"relationship","spec_version":"2.1","id":%q,"created":"2025-04-17T15:24:00.000Z","modified":"2025-04-17T15:24:00.000Z","relationship_type":"uses","source_ref":%q,"target_ref":%q}`,
					bulkID("relationship", dataset, item, i), hub, tool))
		}
		return slices.Concat([]byte("["), bytes.Join(objects, []byte(",")), []byte("]"))
	}}
}

// wideReport is a report of so many tools, which the items after it bring.
func wideReport(references, perItem int) bulk {
	return bulk{items: map[string]int{"profiles": references/perItem + 1}, item: func(dataset string, item int) []byte {
		if item > 1 {
			return tools(perItem, 100)(dataset, item)
		}
		refs := make([]string, references)
		for i := range refs {
			refs[i] = strconv.Quote(bulkID("tool", dataset, 2+i/perItem, i%perItem))
		}
		text := fmt.Appendf(nil, `[{"type":"report","spec_version":"2.1","id":%q,"created":"2025-04-17T15:24:00.000Z","modified":"2025-04-17T15:24:00.000Z","published":"2025-04-17T15:24:00.000Z","name":"wide","object_refs":[`,
			bulkID("report", dataset, 1, 0))
		for i, ref := range refs {
			if i > 0 {
				text = append(text, ',')
			}
			text = append(text, ref...)
		}
		return append(text, "]}]"...)
	}}
}

const mebibyte = 1 << 20

// TestMemoryStaysBounded runs the program over what takes much of it. The bounds are those of a container of 256 MiB with
// room to spare.
func TestMemoryStaysBounded(t *testing.T) {
	for name, c := range map[string]struct {
		data    bulk
		objects int
		most    int64
		setting string
	}{
		"profiles of 20 MB":              {bulk{map[string]int{"profiles": 5, "alerts": 5}, tools(5000, 3900)}, 10 * 5000, 150 * mebibyte, ""},
		"relations whose hub comes last": {star(100, 1000), 200_001, 150 * mebibyte, ""},
		"a report of 50,000 references":  {wideReport(50_000, 1000), 50_001, 150 * mebibyte, ""},
		"objects of 2 MB by the API":     {bulk{map[string]int{"profiles": 10}, tools(8, 2_000_000)}, 80, 150 * mebibyte, "CONNECTOR_QUEUE_PROTOCOL=api"},
		"profiles into a folder, too":    {bulk{map[string]int{"profiles": 4}, tools(5000, 3900)}, 4 * 5000, 150 * mebibyte, "CONNECTOR_SEND_TO_DIRECTORY=true"},
		"the same, in 30 parts":          {wideReport(50_000, 1000), 50_030, 150 * mebibyte, "CONNECTOR_MAX_MESSAGE_BYTES=110000"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: c.data, NoGzip: true}, broker: rabbitmqtest.Config{Discard: true}})
			p := w.start("CONNECTOR_LOG_LEVEL=error", "THREATMATCH_IMPORT_IOCS=false", cmp.Or(c.setting, "CONNECTOR_MAX_MESSAGE_BYTES=15728640"), "CONNECTOR_QUEUE_THRESHOLD=1000000", "CONNECTOR_SEND_TO_DIRECTORY_PATH="+t.TempDir())
			peak := p.peakMemory()
			p.wants(exitOK)
			t.Logf("%d MiB in %s", peak/mebibyte, p.took.Round(time.Millisecond))
			if got := w.broker.Published(); got < c.objects {
				t.Errorf("%d messages, want at least %d", got, c.objects)
			}
			if peak > c.most {
				t.Errorf("the program took %d MiB, want %d at most", peak/mebibyte, c.most/mebibyte)
			}
		})
	}
}

// peakMemory waits for the program's end and returns the most that it took.
func (p *program) peakMemory() (peak int64) {
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-p.done:
			return peak
		case <-look.C:
			peak = max(peak, peakMemoryOf(p.cmd.Process.Pid))
		}
	}
}

// TestAnIdleConnectorIsSmall lets a run end that has taken much. The pages of the program's file do not count: the kernel drops
// them when it needs room.
func TestAnIdleConnectorIsSmall(t *testing.T) {
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: star(20, 500), NoGzip: true}, broker: rabbitmqtest.Config{Discard: true}})
	p := w.start("CONNECTOR_LOG_LEVEL=error", "CONNECTOR_RUN_AND_TERMINATE=false", "CONNECTOR_DURATION_PERIOD=P1D")
	w.awaitsState("the run's end", func(c claims) bool { return !c.LastRun.IsZero() })
	const most = 25 * mebibyte
	eventually(t, "the memory of the run to be given back", func() bool {
		own := memoryOf(p.cmd.Process.Pid, "RssAnon:")
		return own > 0 && own <= most
	})
}

// TestMemoryStaysBoundedWhileTheQueueIsFull lets a run of large items wait for OpenCTI's workers from its first batch on, until
// nothing more is fetched.
func TestMemoryStaysBoundedWhileTheQueueIsFull(t *testing.T) {
	data := bulk{map[string]int{"profiles": 40, "alerts": 40}, tools(500, 3900)}
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data, NoGzip: true}, broker: rabbitmqtest.Config{Discard: true}})
	w.platform.SetQueue(1000, 1<<40)
	p := w.start("CONNECTOR_LOG_LEVEL=error", "THREATMATCH_IMPORT_IOCS=false")
	var fetched, quiet int
	eventually(t, "fetching to stop", func() bool {
		if now := len(w.api.Calls()); now != fetched || now < 10 {
			fetched, quiet = now, 0
		}
		quiet++
		return quiet > 200 // looks, one in 10 ms
	})
	if fetched > 60 {
		t.Errorf("%d calls were made before fetching stopped, for items of 2 MB", fetched)
	}
	w.platform.ClearQueue()
	peak := p.peakMemory()
	p.wants(exitOK)
	const most = 150 * mebibyte
	t.Logf("%d MiB", peak/mebibyte)
	if peak > most {
		t.Errorf("the program took %d MiB, want %d at most", peak/mebibyte, most/mebibyte)
	}
}

// peakMemoryOf is the largest resident size of a process so far in bytes, 0 when it cannot be told.
func peakMemoryOf(pid int) int64 { return memoryOf(pid, "VmHWM:") }

// memoryOf is what Linux says of a process's memory under a name, in bytes.
func memoryOf(pid int, name string) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), name)
	var kib int64
	if _, err := fmt.Sscanf(rest, "%d kB", &kib); err != nil {
		return 0 // a process that has just ended has no memory
	}
	return kib << 10
}
