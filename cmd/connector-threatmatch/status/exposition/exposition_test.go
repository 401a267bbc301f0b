package exposition

import (
	"math"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// parsed is a registry as Prometheus reads it.
func parsed(t *testing.T, r *Registry) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(string(r.Text())))
	if err != nil {
		t.Fatalf("%v in\n%s", err, r.Text())
	}
	return families
}

func TestFiguresAreReadAsTheyWereTold(t *testing.T) {
	const hard = "a \"quoted\" \\ back\nand on, ü {}"
	r := NewRegistry()
	r.Add("asked_total", "How "+hard, Counter, func(s *Samples) { s.Add(12345678.5, Labels{"b": hard, "a": "1"}) })
	r.Add("asked_total", "How "+hard, Counter, func(s *Samples) { s.Add(math.Inf(1), nil) })
	r.Add("level", "How high.", Gauge, func(s *Samples) { s.Add(-1e-9, nil) })
	r.Add("silent", "Nothing.", Gauge, func(*Samples) {})
	r.Add("took_seconds", "How long.", Histogram, func(s *Samples) { s.Histogram(7, 3.5, map[float64]uint64{10: 6, 0.5: 2, 2: 4}) })
	r.Add("paused_seconds", "How long.", Summary, func(s *Samples) { s.Summary(3, 0.5, map[float64]float64{1: 0.3, 0: 0.1}) })
	got := parsed(t, r)
	if len(got) != 4 || got["silent"] != nil {
		t.Errorf("%d families", len(got))
	}
	asked := got["asked_total"]
	labels := map[string]string{}
	for _, m := range asked.GetMetric() {
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
	}
	if diff := cmp.Diff(map[string]string{"a": "1", "b": hard}, labels); diff != "" || asked.GetHelp() != "How "+hard || asked.GetType() != dto.MetricType_COUNTER {
		t.Errorf("%s in %s", diff, asked)
	}
	if sum := asked.Metric[0].Counter.GetValue() + asked.Metric[1].Counter.GetValue(); len(asked.Metric) != 2 || !math.IsInf(sum, 1) {
		t.Errorf("%s", asked)
	}
	if v := got["level"].Metric[0].Gauge.GetValue(); v != -1e-9 {
		t.Errorf("%v", v)
	}
	h := got["took_seconds"].Metric[0].Histogram
	buckets := map[float64]uint64{}
	for _, b := range h.Bucket {
		buckets[b.GetUpperBound()] = b.GetCumulativeCount()
	}
	if diff := cmp.Diff(map[float64]uint64{0.5: 2, 2: 4, 10: 6, math.Inf(1): 7}, buckets); diff != "" || h.GetSampleCount() != 7 || h.GetSampleSum() != 3.5 {
		t.Errorf("%s in %s", diff, h)
	}
	if s := got["paused_seconds"].Metric[0].Summary; s.GetSampleCount() != 3 || s.GetSampleSum() != 0.5 || len(s.Quantile) != 2 || s.Quantile[1].GetValue() != 0.3 {
		t.Errorf("%s", s)
	}
}

func TestAFamilyIsOneThing(t *testing.T) {
	r := NewRegistry()
	r.Add("level", "How high.", Gauge, func(*Samples) {})
	defer func() {
		if recover() == nil {
			t.Error("a gauge became a counter")
		}
	}()
	r.Add("level", "How high.", Counter, func(*Samples) {})
}

// Dashboards for Go programs ask for them.
func TestTheProgramTellsOfItselfWhatGoProgramsTell(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("of the process, other systems tell other things")
	}
	usual := prometheus.NewRegistry()
	usual.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	r := NewRegistry()
	r.AddGo()
	r.AddProcess()
	runtime.GC() // there is something to tell, and then nothing that takes it away
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	before := valuesOf(t, usual)
	told := parsed(t, r)
	after := valuesOf(t, usual)
	got := map[string]string{}
	for name, f := range told {
		got[name] = f.GetType().String()
	}
	want, err := usual.Gather()
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]string{}
	for _, f := range want {
		kinds[f.GetName()] = f.GetType().String()
	}
	if diff := cmp.Diff(kinds, got); diff != "" {
		t.Error(diff)
	}
	for name, f := range told {
		value, from, to := valueOf(f), before[name], after[name]
		// What changes between two looks is about the same, unless the runtime hands it back and forth.
		if low, high := min(from, to)/2, max(from, to)*2+10; (value < low || value > high) && !restless[name] {
			t.Errorf("%s is %v, and was %v and %v", name, value, from, to)
		}
		if settled[name] && (value < from-0.02 || value > from+0.02) { // seconds are rounded
			t.Errorf("%s is %v, not %v", name, value, from)
		}
	}
}

// settled does not change while a program runs.
var settled = map[string]bool{
	"process_start_time_seconds": true, "process_max_fds": true, "process_virtual_memory_max_bytes": true, "go_info": true,
	"go_gc_gogc_percent": true, "go_gc_gomemlimit_bytes": true, "go_sched_gomaxprocs_threads": true,
}

var restless = map[string]bool{"go_memstats_heap_idle_bytes": true, "go_memstats_heap_released_bytes": true}

func valuesOf(t *testing.T, of *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := of.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		values[f.GetName()] = valueOf(f)
	}
	return values
}

// valueOf is the figure of a family of one, or how many there are.
func valueOf(f *dto.MetricFamily) float64 {
	m := f.GetMetric()[0]
	return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetSummary().GetSampleCount())
}
