package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the examples anew")

func TestTheMedianAndTheSpreadAreOfAllSamples(t *testing.T) {
	for _, tt := range []struct {
		samples             []float64
		median, least, most float64
	}{
		{[]float64{3}, 3, 3, 3},
		{[]float64{9, 1, 4}, 4, 1, 9},
		{[]float64{8, 1, 2, 4}, 3, 1, 8},
	} {
		before := slices.Clone(tt.samples)
		row := Row{Samples: tt.samples}
		least, most := row.Spread()
		if row.Median() != tt.median || least != tt.least || most != tt.most {
			t.Errorf("%v: %v, from %v to %v", tt.samples, row.Median(), least, most)
		}
		if !slices.Equal(before, tt.samples) {
			t.Errorf("the samples were put in another order: %v", tt.samples)
		}
	}
	if least, most := (Row{}).Spread(); !math.IsNaN(Median(nil)) || !math.IsNaN(least) || !math.IsNaN(most) {
		t.Error("nothing has a median")
	}
}

func TestTheMedianIsHeldAgainstTheGoal(t *testing.T) {
	for _, tt := range []struct {
		goal    *Goal
		samples []float64
		want    Verdict
	}{
		{AtLeast(96), []float64{96}, OK},
		{AtLeast(96), []float64{95.99}, Missed},
		{AtLeast(96), []float64{10, 97, 98}, OK},
		{AtMost(1.1), []float64{1.1}, OK},
		{AtMost(1.1), []float64{1.11}, Missed},
		{Below(1), []float64{1}, Missed},
		{Below(1), []float64{0}, OK},
		{Below(1), []float64{math.NaN()}, Missed},
		{AtLeast(1), nil, NotMeasured},
		{nil, []float64{1}, NoGoal},
		{nil, nil, NotMeasured},
	} {
		if got := (Row{Goal: tt.goal, Samples: tt.samples}).Verdict(); got != tt.want {
			t.Errorf("%v against %+v: %s, want %s", tt.samples, tt.goal, got, tt.want)
		}
	}
}

func TestOnlyRatiosDecideTheExitStatus(t *testing.T) {
	r := New()
	if r.ExitStatus() != 0 {
		t.Error("what was not measured decides")
	}
	r.Add(NoBroker, 1) // of 60,000
	r.Add(PublishingClassic, 97)
	if r.ExitStatus() != 0 {
		t.Error("an absolute figure decides")
	}
	r.Add(PublishingQuorum, 95)
	if r.ExitStatus() != 1 {
		t.Error("a ratio that misses its goal does not decide")
	}
}

func TestTheQuickFormDecidesNothing(t *testing.T) {
	r := New()
	r.Quick = true
	r.Add(PublishingQuorum, 95) // of 96
	if r.ExitStatus() != 0 {
		t.Error("a ratio of small inputs decides")
	}
	var b bytes.Buffer
	if err := r.Markdown(&b); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"table": r.Table(), "report": b.String()} {
		if strings.Contains(text, "missed") || strings.Contains(text, "decides)") || !strings.Contains(text, "would miss") {
			t.Errorf("the %s tells of a missed goal:\n%s", name, text)
		}
	}
}

func TestAFailedStepDecidesAndIsNamed(t *testing.T) {
	r := New()
	r.Quick = true
	r.Add(PublishingQuorum, 95)
	r.Fail("the open corpus")
	if got := r.ExitStatus(); got != 2 {
		t.Errorf("status %d", got)
	}
	if table := r.Table(); !strings.Contains(table, CorpusTime) || !strings.Contains(table, "a step failed: the open corpus") {
		t.Error(table)
	}
}

func TestWhatTheSystemDoesNotTellIsNoFigure(t *testing.T) {
	r := New()
	r.Machine.BusyBefore = new(0.0)
	r.AddTold(MediumMemory, 0)
	if row := r.Row(MediumMemory); row.Verdict() != NotMeasured || row.Skipped == "" {
		t.Errorf("%+v", row)
	}
	if table := r.Table(); !strings.Contains(table, "processors, this system does not tell") {
		t.Error(table)
	}
	r.AddTold(MediumMemory, 3)
	if row := r.Row(MediumMemory); row.Median() != 3 || r.reason(*row) != "" {
		t.Errorf("%+v, %s", row, r.reason(*row))
	}
}

func TestUnitsThatAreComparedHaveOneDirection(t *testing.T) {
	least, most := map[string]string{}, map[string]string{}
	for _, row := range Rows() {
		if row.Goal == nil {
			continue
		}
		if row.Goal.Least > 0 {
			least[row.comparable()] = row.Name
		} else {
			most[row.comparable()] = row.Name
		}
	}
	for unit, name := range least {
		if other, both := most[unit]; both {
			t.Errorf("%s should be large and %s small, and both are in %s", name, other, unit)
		}
	}
}

func TestNamesOfRowsAreUniqueAndRatiosHaveGoals(t *testing.T) {
	seen := map[string]bool{}
	for _, row := range Rows() {
		if seen[row.Name] || seen[row.What] || row.Ratio && row.Goal == nil {
			t.Errorf("%+v", row)
		}
		seen[row.Name], seen[row.What] = true, true
	}
}

// example is a report with made-up figures.
func example() *Report {
	r := New()
	r.Version, r.Started, r.Took = "1.2.3", time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC), 8*time.Minute+5*time.Second
	r.Machine = Machine{CPU: "Some CPU", Cores: 2, Memory: 7.6, System: "linux/amd64 6.1", Go: "go1.26", RabbitMQ: "3.10.8", BusyBefore: new(34.0), BusyDuring: new(7.0)}
	r.Input = Input{Medium: "500 profiles", Pairs: "1,000 profiles", Million: "16,000 profiles", Corpus: "172 profiles"}
	for name, samples := range map[string][]float64{
		PublishingClassic: {97.2, 96.1, 99}, WholeClassic: {93, 91.5, 94}, PublishingQuorum: {90, 97, 95.9}, WholeQuorum: {93, 94, 95},
		RateClassic: {19_000, 21_000, 20_000}, RateQuorum: {15_000}, ItemsLatency: {1.02}, PagesLatency: {6.8}, PagesCalls: {104},
		NoBroker: {61_234, 59_000, 65_000}, CPUObject: {17.25}, CPUIndicator: {12.5}, QuietWorks: {0}, QuietTime: {80.25}, BinarySize: {19.4},
		MediumMemory: {61, 63}, FirstMessage: {120},
	} {
		for _, v := range samples {
			r.Add(name, v)
		}
	}
	r.Skip("BENCH_PYTHON names no checkout", Python)
	r.Skip("only the full measurement imports a million", MillionMemory, MillionRate, MillionFlat)
	for i := range r.Rows {
		if row := &r.Rows[i]; len(row.Samples) == 0 && row.Skipped == "" {
			row.Skipped = "it is an example"
		}
	}
	r.Row(BinarySize).Note = "without <debug> information"
	r.Stages = []Share{{"fetching", 2.5}, {"transforming", 6}}
	r.Twins = []Share{{"ThreatMatch", 1.25}, {"OpenCTI", 0.3}}
	r.Plots = []Plot{{"throughput.svg", "Throughput over time", "It should be steep."}}
	return r
}

func TestTheReportReadsAsTheExample(t *testing.T) {
	r := example()
	for name, write := range map[string]func(*bytes.Buffer) error{
		"report.md":     func(b *bytes.Buffer) error { return r.Markdown(b) },
		"report.json":   func(b *bytes.Buffer) error { return r.JSON(b) },
		"benchstat.txt": func(b *bytes.Buffer) error { return r.Benchstat(b) },
		"table.txt":     func(b *bytes.Buffer) error { b.WriteString(r.Table()); return nil },
	} {
		var got bytes.Buffer
		if err := write(&got); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got.String()); diff != "" {
			t.Errorf("%s, -example +now; -update writes it anew:\n%s", name, diff)
		}
	}
}

func TestMachinesReadTheMedianAndTheVerdict(t *testing.T) {
	var b bytes.Buffer
	if err := example().JSON(&b); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Rows []struct {
			Name, Verdict string
			Median        *float64
		}
		ExitStatus int `json:"exit_status"`
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.ExitStatus != 1 || len(got.Rows) != len(Rows()) {
		t.Errorf("exit status %d, %d rows", got.ExitStatus, len(got.Rows))
	}
	for _, row := range got.Rows {
		switch row.Name {
		case PublishingQuorum:
			if row.Verdict != "missed" || row.Median == nil || *row.Median != 95.9 {
				t.Errorf("%+v", row)
			}
		case Python:
			if row.Verdict != "not measured" || row.Median != nil {
				t.Errorf("%+v", row)
			}
		}
	}
}

func TestAReportOfNothingSaysSo(t *testing.T) {
	var b bytes.Buffer
	if err := New().Markdown(&b); err != nil || !strings.Contains(b.String(), "No ratio was measured") || strings.Contains(b.String(), "NaN") {
		t.Errorf("%v\n%s", err, b.String())
	}
}
