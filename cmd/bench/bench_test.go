package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	pprofile "github.com/google/pprof/profile"
	"go.uber.org/goleak"

	"github.com/opencti-connectors/threatmatch/cmd/bench/report"
	"github.com/opencti-connectors/threatmatch/cmd/bench/twins"
)

// The processes of a measurement are this program anew: here the test's.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == twins.Command || os.Args[1] == publishCommand || os.Args[1] == insideCommand) {
		os.Exit(execute(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m)
}

func TestTheSmallestMeasurementFillsTheReport(t *testing.T) {
	dir := t.TempDir()
	binary, out := filepath.Join(dir, "connector-threatmatch"), filepath.Join(dir, "bench")
	if said, err := exec.Command("go", "build", "-o", binary, "../connector-threatmatch").CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, said)
	}
	var table, problems bytes.Buffer
	status := execute(t.Context(), []string{"-size", "tiny", "-connector", binary, "-out", out}, nil, &table, &problems)
	if status != 0 { // no goal decides, of inputs so small
		t.Fatalf("status %d\n%s", status, problems.String())
	}
	text, err := os.ReadFile(filepath.Join(out, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got report.Report
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	for _, row := range got.Rows {
		if len(row.Samples) == 0 && row.Skipped == "" {
			t.Errorf("nothing is said of %s", row.Name)
		}
		for _, v := range row.Samples {
			if v < 0 {
				t.Errorf("%s is %v", row.Name, v)
			}
		}
		if !strings.Contains(table.String(), row.What) {
			t.Errorf("the table has no row for %s", row.Name)
		}
	}
	if runtime.GOOS == "linux" && (got.Machine.BusyBefore == nil || got.Machine.BusyDuring == nil) {
		t.Errorf("nothing is said of what else the machine did: %+v", got.Machine)
	}
	if len(got.Stages) == 0 || len(got.Twins) != 3 || len(got.Plots) == 0 {
		t.Errorf("stages %v, twins %v, plots %v", got.Stages, got.Twins, got.Plots)
	}
	for _, p := range got.Plots {
		if svg, err := os.ReadFile(filepath.Join(out, p.File)); err != nil || !bytes.Contains(svg, []byte("<svg")) || bytes.Contains(svg, []byte("NaN")) {
			t.Errorf("%s: %v", p.File, err)
		}
	}
}

func TestAMeasurementThatFailsWritesWhatThereIs(t *testing.T) {
	dir := t.TempDir()
	binary, out := filepath.Join(dir, "connector-threatmatch"), filepath.Join(dir, "bench")
	if err := os.WriteFile(binary, []byte("#!/bin/sh\n[ \"$1\" = version ] && echo version 9.9.9\n"), 0o755); err != nil { // it delivers nothing
		t.Fatal(err)
	}
	if err := os.Mkdir(out, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(out, "report.md"), []byte("of another day"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir) // no RabbitMQ
	var table, problems bytes.Buffer
	status := execute(t.Context(), []string{"-size", "tiny", "-connector", binary, "-out", out, "-corpus", dir + "/none"}, nil, &table, &problems)
	if status != exitFailed {
		t.Errorf("status %d", status)
	}
	text, err := os.ReadFile(filepath.Join(out, "report.md"))
	if err != nil {
		t.Fatal(err)
	}
	const failed, measured = "the open corpus", "| The program's file "
	if got := string(text); !strings.Contains(got, "9.9.9") || !strings.Contains(got, "Something failed") || !strings.Contains(got, failed) || !strings.Contains(got, measured) {
		t.Errorf("the report does not say what failed, or lacks what did not:\n%s", got)
	}
	if !strings.Contains(problems.String(), failed+": ") || !strings.Contains(table.String(), "a step failed") {
		t.Errorf("%s\n%s", problems.String(), table.String())
	}
	if strings.Contains(string(text), "NaN") {
		t.Error("nothing is written as a number")
	}
}

func TestAStepWhoseTimeIsOverHasOneRound(t *testing.T) {
	b := &bench{report: report.New(), step: "some step", share: time.Hour}
	count := func() (n int) {
		for range b.rounds(3) {
			n++
		}
		return n
	}
	b.report.Started = time.Now()
	if n := count(); n != 3 || len(b.report.Cut) > 0 {
		t.Errorf("%d rounds where there is time, cut %v", n, b.report.Cut)
	}
	b.report.Started = time.Now().Add(-2 * time.Hour)
	if n := count() + count(); n != 2 || len(b.report.Cut) != 1 {
		t.Errorf("%d rounds of two times where there is none, cut %v", n, b.report.Cut)
	}
	var text bytes.Buffer
	if err := b.report.Markdown(&text); err != nil || !strings.Contains(text.String(), "cut here and there") || !strings.Contains(text.String(), "some step") {
		t.Errorf("%v\n%s", err, text.String())
	}
}

func TestWhatThisProgramTakesIsNotOthers(t *testing.T) {
	before := load{idle: 50, all: 100, own: time.Second, told: true}
	now := func(own time.Duration, told bool) load {
		return load{idle: 250, all: 1100, own: time.Second + own, told: told}
	} // 800 of a thousand ticks were work
	for _, tt := range []struct {
		own  time.Duration
		want float64
	}{{8 * time.Second, 0}, {3 * time.Second, 50}, {9 * time.Second, 0}} {
		if got := before.others(now(tt.own, true)); got == nil || *got != tt.want {
			t.Errorf("others had %v when this program took %s, want %v", got, tt.own, tt.want)
		}
	}
	if before.others(now(time.Second, false)) != nil || before.others(before) != nil {
		t.Error("what the system does not tell is a figure")
	}
}

func TestAMeasurementThatIsToldToEndLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	source, err := newSource(ctx, generated(tiny.medium), 0)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := source.End(); err == nil {
		t.Error("a twin ended as if nobody had told it")
	}
}

func TestPublishingIsFromTheFirstMessageToTheLast(t *testing.T) {
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(seconds, messages int) twins.Arrivals {
		return twins.Arrivals{At: began.Add(time.Duration(seconds) * time.Second), Messages: messages}
	}
	r := run{messages: 110, arrived: []twins.Arrivals{at(10, 10), at(11, 60), at(20, 110), at(90, 110)}}
	r.Started, r.Wall = began, 22*time.Second
	if got := r.publishing(); got != 10 {
		t.Errorf("%v messages a second, want 100 in ten seconds", got)
	}
	if got := r.whole(); got != 5 {
		t.Errorf("%v messages a second, want 110 in 22 seconds", got)
	}
	if got := r.tenth(9); got <= 0 {
		t.Errorf("the last tenth has %v a second", got)
	}
	for name, few := range map[string]run{"none": {messages: 1}, "all at once": {messages: 5, arrived: []twins.Arrivals{at(1, 5)}}} {
		if got := few.publishing(); got != 0 {
			t.Errorf("%s: %v messages a second", name, got)
		}
	}
}

func TestARunThatDidNotDeliverEverythingIsNoFigure(t *testing.T) {
	well := twins.Work{Expected: 7, Closed: 1}
	if n, err := delivered(twins.Account{Works: []twins.Work{well}}); n != 7 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	for name, works := range map[string][]twins.Work{
		"none": nil, "two": {well, well}, "open": {{Expected: 7}}, "closed twice": {{Expected: 7, Closed: 2}}, "failed": {{Expected: 7, Closed: 1, InError: true}}, "empty": {{Closed: 1}},
	} {
		if _, err := delivered(twins.Account{Works: works}); err == nil {
			t.Errorf("%s: it is well", name)
		}
	}
}

func TestAStageIsThatOfTheInnermostFunctionOfTheProject(t *testing.T) {
	for _, tt := range []struct {
		stack []string // innermost first
		want  string
	}{
		{[]string{"runtime.mallocgc", module + "/transform.(*Transformer).Transform", module + "/pipeline.Run"}, "transforming"},
		{[]string{"syscall.Syscall", "net/http.(*persistConn).readLoop"}, "fetching and splitting ThreatMatch's answers"},
		{[]string{"net/http.(*Client).Do", module + "/pipeline/remote.(*once).RoundTrip", module + "/emit/opencti.(*Client).ping"}, "OpenCTI's work and state"},
		{[]string{"bufio.(*Reader).Read", module + "/emit/rabbitmq.(*wire).Read", "github.com/rabbitmq/amqp091-go.(*Connection).reader"}, "publishing and confirms"},
		{[]string{"github.com/rabbitmq/amqp091-go.(*Connection).reader"}, "publishing and confirms"},
		{[]string{module + "/emit.(*Emitter).Put"}, "ordering and packing"},
		{[]string{"runtime.scanobject", "runtime.gcBgMarkWorker"}, "collecting garbage"},
		{[]string{"runtime.futex"}, elsewhere},
	} {
		if got := stageOf(sampleOf(tt.stack)); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.stack, got, tt.want)
		}
	}
}

func sampleOf(stack []string) *pprofile.Sample {
	s := new(pprofile.Sample)
	for _, name := range stack {
		s.Location = append(s.Location, &pprofile.Location{Line: []pprofile.Line{{Function: &pprofile.Function{Name: name}}}})
	}
	return s
}
