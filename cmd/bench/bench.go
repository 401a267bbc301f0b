package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/bench/report"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// errMissed says that a ratio misses its goal.
var errMissed = errors.New("a ratio misses its goal")

// wholeLimit ends a measurement that does not come to an end, on a machine three times slower than two cores are.
const wholeLimit = 30 * time.Minute

// On a machine that has other things to do the measurement takes less, rather than more than ten minutes: each step has its share of
// them for more rounds than one, and there is no million when it comes so late.
const (
	planned     = 10 * time.Minute
	millionTime = 7 * time.Minute
)

// bench is a measurement under way.
type bench struct {
	sizes
	dir     string // for what goes at the end
	out     string // for what stays
	self    string // this program
	binary  string // the connector
	corpus  string // "" where it is missing
	python  string // a checkout of the Python connector, "" for none
	node    *rabbitmqtest.Node
	report  *report.Report
	say     io.Writer
	gallery gallery
	step    string        // under way
	share   time.Duration // since the start, after which it begins no other round
}

// step is a part of a measurement.
type step struct {
	name  string
	about time.Duration // on two cores
	do    func(context.Context) error
}

// measureAll measures, writes the report, and prints its table.
func measureAll(ctx context.Context, args []string, out, problems io.Writer) (err error) {
	b := &bench{report: report.New(), say: problems}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(problems)
	size := flags.String("size", "full", "how much to measure: full, quick or tiny")
	flags.StringVar(&b.binary, "connector", "bin/connector-threatmatch", "the program to measure, as `make build` makes it")
	flags.StringVar(&b.out, "out", "bench", "folder for the report")
	flags.StringVar(&b.corpus, "corpus", "../shared/data/corpus", "folder of real intelligence; generated where it is missing")
	flags.StringVar(&b.python, "python", os.Getenv("BENCH_PYTHON"), "folder of a checkout of the Python connector (BENCH_PYTHON)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	chosen, ok := map[string]sizes{"full": full, "quick": quick, "tiny": tiny}[*size]
	if !ok || flags.NArg() > 0 {
		return fmt.Errorf("there is no size %q and no argument %q: see -help", *size, flags.Args())
	}
	b.sizes, b.report.Quick = chosen, *size != "full"
	ctx, cancel := context.WithTimeoutCause(ctx, wholeLimit, fmt.Errorf("it took more than %s", wholeLimit))
	defer cancel()
	if err := b.prepare(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.clear()) }()
	b.report.Machine.BusyBefore = busyNow(ctx)
	began := loadNow()
	b.report.Started = time.Now()
	failed := errors.Join(b.take(ctx, b.steps()), b.endNode(ctx))
	b.report.Took = time.Since(b.report.Started)
	b.report.Machine.BusyDuring = began.others(loadNow())
	if err := b.write(); err != nil {
		return errors.Join(failed, err)
	}
	fmt.Fprintf(out, "\n%s\nIn %s; %s has it in words and pictures.\n", b.report.Table(), words.Duration(b.report.Took), filepath.Join(b.out, "report.md"))
	if failed == nil && b.report.ExitStatus() != 0 {
		return errMissed
	}
	return failed
}

// prepare finds what is needed and makes folders.
func (b *bench) prepare() (err error) {
	if b.self, err = os.Executable(); err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if b.binary, err = filepath.Abs(b.binary); err != nil {
		return err
	}
	version, err := exec.Command(b.binary, "version").Output()
	if err != nil {
		return fmt.Errorf("ask the connector for its version; build it with `make build`: %w", err)
	}
	b.report.Version = strings.TrimSpace(strings.TrimPrefix(strings.SplitN(string(version), "\n", 2)[0], "version"))
	if _, err := os.Stat(b.corpus); err != nil {
		b.corpus = ""
	} else if b.corpus, err = filepath.Abs(b.corpus); err != nil {
		return err
	}
	if err := os.MkdirAll(b.out, 0o755); err != nil {
		return fmt.Errorf("make the folder of the report: %w", err)
	}
	b.report.Machine = thisMachine()
	b.dir, err = os.MkdirTemp("", "connector-threatmatch-bench-")
	return err
}

// clear ends what still runs, and takes the files away that nobody needs.
func (b *bench) clear() error {
	return errors.Join(b.endNode(context.Background()), os.RemoveAll(b.dir))
}

// take measures step by step, and says what it is at and how long that takes. A step that fails is named in the report, and the
// others are taken all the same, unless ctx has ended.
func (b *bench) take(ctx context.Context, steps []step) error {
	var left, all time.Duration
	for _, s := range steps {
		left += s.about
	}
	all = left
	var failed []error
	for i, s := range steps {
		b.step, b.share = s.name, time.Duration(float64(planned)*float64(all-left+s.about)/float64(all))
		fmt.Fprintf(b.say, "[%2d/%d] %s: about %s, %s in all\n", i+1, len(steps), s.name, words.Duration(s.about), words.Duration(left))
		began := time.Now()
		if err := s.do(ctx); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause // what else failed followed from it
			}
			b.report.Fail(s.name)
			failed = append(failed, fmt.Errorf("%s: %w", s.name, err))
			if ctx.Err() != nil {
				break
			}
		}
		if took := time.Since(began); took > 2*s.about+5*time.Second {
			fmt.Fprintf(b.say, "        took %s: the machine is slow, or does something else\n", words.Duration(took))
		}
		left -= s.about
	}
	return errors.Join(failed...)
}

// rounds counts the rounds of the step under way: the first, and others up to n while its share of the time lasts.
func (b *bench) rounds(n int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range n {
			if i > 0 && time.Since(b.report.Started) > b.share {
				b.report.CutShort(b.step)
				return
			}
			if !yield(i) {
				return
			}
		}
	}
}

// steps are all parts, in their order.
func (b *bench) steps() []step {
	// An indicator and what comes with it take about 100 µs in a medium import.
	imports := func(n int, s threatmatchtest.Shape) time.Duration {
		return time.Duration(n*s.Indicators)*100*time.Microsecond + time.Duration(n)*200*time.Millisecond
	}
	pairs := imports(3*b.pairsOf+1, b.pairs) // beside RabbitMQ it takes twice as long
	corpus := 2 * time.Second
	if b.python != "" {
		corpus += 25 * time.Second
	}
	slow := time.Duration(b.slowPages+b.slowItems/concurrency) * latency * 6 / 5
	scaling := 0
	for _, objects := range b.scaling {
		scaling += objects
	}
	return []step{
		{"a private RabbitMQ", 8 * time.Second, b.startNode},
		{"beside RabbitMQ, classic queue, in pairs", pairs, func(ctx context.Context) error { return b.measurePairs(ctx, classic) }},
		{"beside RabbitMQ, quorum queue, in pairs", pairs, func(ctx context.Context) error { return b.measurePairs(ctx, quorum) }},
		{"the open corpus", time.Duration(b.corpusRounds) * corpus, b.measureCorpus},
		{"the end of RabbitMQ", 2 * time.Second, b.endNode}, // it would take a little of what follows
		{"the medium import, memory and start", imports(b.without+b.each, b.medium), b.measureMedium},
		{"profiles and indicators by themselves", imports(b.each, shape(0, 0, b.indicators+50*b.profiles)), b.measureKinds},
		{"a run with nothing new", imports(1, b.medium) + time.Duration(b.each)*200*time.Millisecond, b.measureQuiet},
		{"an API that takes its time", time.Duration(b.each) * slow * 5 / 4, b.measureLatency},
		{"concurrency", time.Duration(b.slowItems+b.slowPages) * latency * 6 / 5, b.measureConcurrency}, // a half, and half of that again, and so on
		{"where the time goes", imports(1+b.each+b.without, b.pairs), b.measureStages},
		{"from a thousand objects on", time.Duration(scaling) * 50 * time.Microsecond, b.measureScaling},
		{"sizes", time.Second, b.measureSizes},
	}
}

// startNode starts a RabbitMQ, where there is one.
func (b *bench) startNode(ctx context.Context) error {
	node, err := rabbitmqtest.StartNode(ctx, filepath.Join(b.dir, "node"))
	if errors.Is(err, rabbitmqtest.ErrNotInstalled) {
		b.report.Skip(err.Error(), report.PublishingClassic, report.WholeClassic, report.PublishingQuorum, report.WholeQuorum, report.RateClassic, report.RateQuorum)
		return nil
	}
	if err != nil {
		return err
	}
	b.node = node
	b.report.Machine.RabbitMQ, err = brokerVersion(node.URL())
	return err
}

// endNode ends the RabbitMQ, if it runs.
func (b *bench) endNode(context.Context) error {
	if b.node == nil {
		return nil
	}
	node := b.node
	b.node = nil
	return node.Close()
}
