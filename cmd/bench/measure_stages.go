package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	pprofile "github.com/google/pprof/profile"

	"github.com/opencti-connectors/threatmatch/cmd/bench/process"
	"github.com/opencti-connectors/threatmatch/cmd/bench/report"
	"github.com/opencti-connectors/threatmatch/cmd/bench/twins"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/transform"
)

// stage is a part of the connector, by the beginnings of the names of its functions, and by those of functions that work for it
// in goroutines of their own, which count where a sample is in no stage's own.
type stage struct {
	name        string
	own, beside []string
}

// stages are the parts, the more particular first.
var stages = []stage{
	{"fetching and splitting ThreatMatch's answers", []string{module + "/fetch"}, []string{"net/http"}},
	{"transforming", []string{module + "/transform"}, nil},
	{"moving items from stage to stage", []string{module + "/pipeline."}, nil},
	{"remembering what was delivered", []string{module + "/state"}, nil},
	{"OpenCTI's work and state", []string{module + "/emit/opencti", module + "/emit/followup"}, nil},
	{"publishing and confirms", []string{module + "/emit/rabbitmq"}, []string{"github.com/rabbitmq/amqp091-go"}},
	{"ordering and packing", []string{module + "/emit"}, nil},
	{"collecting garbage", nil, []string{"runtime.gcBgMarkWorker", "runtime.bgsweep", "runtime.bgscavenge"}},
}

const (
	module = "github.com/opencti-connectors/threatmatch"
	// elsewhere is what none of the stages is in.
	elsewhere = "switching between goroutines, and others"
)

// measureStages imports the shape of the pairs in a process that is looked at from inside and then as it is released, and transforms
// the medium shape without anything around.
func (b *bench) measureStages(ctx context.Context) error {
	folder, err := os.MkdirTemp(b.dir, "profiles-")
	if err != nil {
		return err
	}
	profiled := generated(b.pairs)
	_, err = withSource(ctx, profiled, 0, func(from source) error {
		if _, messages, err := b.lookInside(ctx, from, folder); err != nil {
			return err
		} else if b.report.Stages, err = shares(filepath.Join(folder, cpuProfile), messages); err != nil {
			return err
		}
		for range b.rounds(b.each) {
			a, messages, err := b.lookInside(ctx, from)
			if err != nil {
				return err
			}
			b.report.Add(report.WholeAlloc, float64(a.Allocations)/float64(messages))
		}
		// The plain program, for what it and the twins take.
		for range b.rounds(b.without) {
			r, err := b.once(ctx, from, place{})
			if err != nil {
				return err
			}
			b.report.Add(report.NoBroker, r.whole())
			b.report.Twins = nil
			for _, kind := range []twins.Kind{twins.ThreatMatch, twins.OpenCTI, twins.RabbitMQ} {
				if cost, told := r.cost[kind]; told {
					b.report.Twins = append(b.report.Twins, report.Share{Name: names[kind], Micros: r.perObject(cost)})
				}
			}
			b.gallery.without = r
		}
		return nil
	})
	if err != nil {
		return err
	}
	for range b.rounds(b.each) {
		if err := errors.Join(b.measureTransform(ctx), b.measureSplitting()); err != nil {
			return err
		}
	}
	return nil
}

var names = map[twins.Kind]string{twins.ThreatMatch: "ThreatMatch", twins.OpenCTI: "OpenCTI", twins.RabbitMQ: "the broker that confirms at once"}

// lookInside runs the connector in a process of this program.
func (b *bench) lookInside(ctx context.Context, from source, folder ...string) (a allocated, messages int, err error) {
	w, err := b.newWorld(ctx, place{})
	if err != nil {
		return a, 0, err
	}
	var out bytes.Buffer
	cmd := exec.Command(b.self, append([]string{insideCommand}, folder...)...)
	cmd.Stdout = &out
	_, err = w.command(ctx, cmd, time.Second, w.environ(from))
	account, ended := w.end()
	if err := errors.Join(err, ended); err != nil {
		return a, 0, err
	}
	if err := json.Unmarshal(out.Bytes(), &a); err != nil {
		return a, 0, fmt.Errorf("read what was allocated: %w", err)
	}
	messages, err = delivered(account)
	return a, messages, err
}

// shares reads a profile of the processor and gives each stage its samples.
func shares(path string, messages int) ([]report.Share, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p, err := pprofile.ParseData(text)
	if err != nil {
		return nil, fmt.Errorf("read the profile: %w", err)
	}
	at := slices.IndexFunc(p.SampleType, func(t *pprofile.ValueType) bool { return t.Type == "cpu" })
	if at < 0 {
		return nil, errors.New("read the profile: it is none of the processor")
	}
	took := map[string]int64{}
	for _, s := range p.Sample {
		took[stageOf(s)] += s.Value[at] // ns
	}
	var list []report.Share
	for _, name := range stageNames() {
		list = append(list, report.Share{Name: name, Micros: float64(took[name]) / 1000 / float64(messages)})
	}
	return list, nil
}

func stageNames() (names []string) {
	for _, s := range stages {
		names = append(names, s.name)
	}
	return append(names, elsewhere)
}

// stageOf finds the innermost function of a sample that is a stage's own, else one beside it.
func stageOf(s *pprofile.Sample) string {
	for _, of := range []func(stage) []string{func(s stage) []string { return s.own }, func(s stage) []string { return s.beside }} {
		for _, l := range s.Location {
			for _, line := range l.Line {
				at := slices.IndexFunc(stages, func(s stage) bool {
					return slices.ContainsFunc(of(s), func(prefix string) bool { return strings.HasPrefix(line.Function.Name, prefix) })
				})
				if at >= 0 {
					return stages[at].name
				}
			}
		}
	}
	return elsewhere
}

// measureTransform transforms the medium shape's items and indicators in this process, which does nothing else, and takes its
// processor time, in which the collector's is.
func (b *bench) measureTransform(ctx context.Context) error {
	t, err := transform.New(transform.Config{TLP: "amber", ThreatActorAsIntrusionSet: true})
	if err != nil {
		return err
	}
	whole := func(items []pipeline.Item) {
		for _, item := range items {
			_, _ = t.Transform(ctx, item) // some of it is bad on purpose
		}
	}
	if b.gallery.medium.messages == 0 {
		b.report.Skip("how many objects of it are delivered is not known", report.TransformTime, report.TransformAlloc)
		return nil
	}
	items, other := itemsOf(b.medium), b.medium
	other.Seed++
	whole(itemsOf(other)) // fills what is used again; the items themselves would be recalled
	allocations := mallocs()
	began, told := process.OwnCPU()
	whole(items)
	ended, _ := process.OwnCPU()
	objects := float64(b.gallery.medium.messages) // more are made: copies, and the author and the marking of each item
	b.report.Add(report.TransformAlloc, float64(mallocs()-allocations)/objects)
	if told {
		b.report.Add(report.TransformTime, (ended-began).Seconds()*1e6/objects)
	} else {
		b.report.Skip(report.Untold, report.TransformTime)
	}
	return ctx.Err()
}

// measureSplitting reads the medium shape's items and indicators object by object, as strictly as the connector, and keeps nothing: less
// can nobody do who checks what he sends and sends each object by itself.
func (b *bench) measureSplitting() error {
	delivered := float64(b.gallery.medium.messages)
	items := itemsOf(b.medium)
	runtime.GC() // what was measured before is not for this to collect
	began, told := process.OwnCPU()
	for _, item := range items {
		if err := split(item.Data); err != nil {
			return fmt.Errorf("split an item's JSON: %w", err)
		}
	}
	ended, _ := process.OwnCPU()
	if took := ended - began; told && took > 0 && delivered > 0 {
		b.report.Add(report.Splitting, delivered/took.Seconds())
	} else {
		b.report.Skip(report.Untold, report.Splitting)
	}
	return nil
}

// split reads a list of objects, or one that stands alone.
func split(text []byte) error {
	decoder := jsontext.NewDecoder(bytes.NewBuffer(text))
	if decoder.PeekKind() == '[' {
		if _, err := decoder.ReadToken(); err != nil {
			return err
		}
	}
	for decoder.PeekKind() == '{' {
		if _, err := decoder.ReadValue(); err != nil {
			return err
		}
	}
	if _, err := decoder.ReadToken(); err != nil && err != io.EOF {
		return err
	}
	return nil
}

func mallocs() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}

// itemsOf are a shape's items as they come to the transformer.
func itemsOf(s threatmatchtest.Shape) (items []pipeline.Item) {
	g := threatmatchtest.Generate(s)
	for _, set := range []string{"profiles", "alerts"} {
		for id := range g.IDs(set, time.Time{}) {
			objects, _ := g.Item(set, fmt.Sprint(id))
			items = append(items, pipeline.Item{Dataset: set, ID: fmt.Sprint(id), Data: objects})
		}
	}
	objects, _ := g.Indicators(time.Time{}, true, s.Indicators)
	for i, o := range objects {
		items = append(items, pipeline.Item{Dataset: "iocs", ID: fmt.Sprint(i), Data: o})
	}
	return items
}
