package report

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
)

// Markdown writes the report for somebody who decides whether to trust the connector.
func (r *Report) Markdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# How fast the ThreatMatch connector is\n\n")
	fmt.Fprintf(&b, "Version %s, measured %s in %s on %s.\n\n", r.Version, r.Started.UTC().Format("2006-01-02 15:04 UTC"), words.Duration(r.Took), r.Machine.line())
	for _, line := range r.circumstances() {
		b.WriteString(line + "\n\n")
	}
	b.WriteString("## Verdict\n\n" + r.verdict() + "\n\n" + r.limits() + "\n\n")
	b.WriteString("## Figures\n\n" + r.table(markdown) + "\n")
	b.WriteString("Each figure is the median; beside it stand the smallest and the largest. A ratio is that of a pair of runs made one right after the other, unless a note says otherwise, " +
		"and the median is over the pairs: what slows the machine slows both. Only ratios decide the exit status; the other goals are for two cores of their own.\n")
	for _, row := range r.Rows {
		if note := cmp.Or(r.reason(row), row.Note, row.Skipped); note != "" {
			fmt.Fprintf(&b, "\n- %s: *%s*", row.What, note)
		}
	}
	b.WriteString("\n\n## Pictures\n")
	for _, p := range r.Plots {
		fmt.Fprintf(&b, "\n![%s](%s)\n\n%s\n", p.Title, p.File, p.Caption)
	}
	b.WriteString("\n" + r.method())
	_, err := io.WriteString(w, b.String())
	return err
}

// circumstances are what makes the whole report worth less, a line each.
func (r *Report) circumstances() (lines []string) {
	if len(r.Failed) > 0 {
		lines = append(lines, "Something failed, and this is what there is without it: "+strings.Join(r.Failed, "; ")+".")
	}
	if r.Quick {
		lines = append(lines, "This is the quick form for work in progress: one or two runs of small inputs. It is no verdict on the connector, and no goal decides its exit status.")
	}
	if len(r.Cut) > 0 {
		lines = append(lines, fmt.Sprintf("The machine is slow or busy: it took %s, cut here and there; fewer rounds than planned had %s.", words.Duration(r.Took.Round(time.Second)), strings.Join(r.Cut, "; ")))
	}
	return append(lines, r.Machine.busy())
}

func (m Machine) line() string {
	text := fmt.Sprintf("%s, %s, %.0f GiB, %s, %s", m.CPU, words.Counted(m.Cores, "core"), m.Memory, m.System, m.Go)
	if m.RabbitMQ != "" {
		text += ", RabbitMQ " + m.RabbitMQ
	}
	return text
}

// calm is up to how much of the processors, in percent, others may have without being told of.
const calm = 10

// busy says what other things had of the processors.
func (m Machine) busy() string {
	if m.BusyBefore == nil || m.BusyDuring == nil {
		return "What other things had of the processors, this system does not tell."
	}
	text := fmt.Sprintf("Other things had %.0f %% of the processors' time right before, and %.0f %% in the course of the measurement", *m.BusyBefore, *m.BusyDuring)
	if max(*m.BusyBefore, *m.BusyDuring) > calm {
		return "The machine was busy. " + text + ": absolute figures are worth little then, and ratios less than usual."
	}
	return text + "."
}

// verdict says what the goals came to.
func (r *Report) verdict() string {
	count := func(ratios bool) (met, all int) {
		met = len(r.with(OK, ratios))
		return met, met + len(r.with(Missed, ratios))
	}
	miss := func(certain string) string {
		if r.Quick {
			return string(WouldMiss)
		}
		return certain
	}
	var b strings.Builder
	met, all := count(true)
	switch {
	case all == 0:
		b.WriteString("**No ratio was measured.**")
	case met == all:
		fmt.Fprintf(&b, "**All %d ratios that were measured reach their goals.**", all)
	case all-met == 1:
		fmt.Fprintf(&b, "**One of %d ratios %s its goal:** %s.", all, miss("misses"), listed(r.Missed(true)))
	default:
		fmt.Fprintf(&b, "**%d of %d ratios %s their goals:** %s.", all-met, all, miss("miss"), listed(r.Missed(true)))
	}
	met, all = count(false)
	fmt.Fprintf(&b, " Of the %d absolute figures, most of which depend on the machine, %d reach theirs", all, met)
	if missed := r.Missed(false); len(missed) > 0 {
		fmt.Fprintf(&b, "; not: %s", listed(missed))
	}
	b.WriteString(".")
	for _, row := range r.with(NotMeasured, true) {
		fmt.Fprintf(&b, " Not measured: %s (%s).", lower(row.What), r.reason(row))
	}
	return b.String()
}

func listed(rows []Row) string {
	var parts []string
	for _, row := range rows {
		parts = append(parts, fmt.Sprintf("%s (%s, goal %s)", lower(row.What), row.figure(), row.goal()))
	}
	return strings.Join(parts, "; ")
}

// lower begins a title in the middle of a sentence.
func lower(title string) string {
	if len(title) > 1 && title[1] >= 'A' && title[1] <= 'Z' {
		return title // an abbreviation
	}
	return strings.ToLower(title[:1]) + title[1:]
}

// limits says what bounds a run: here, and in the world.
func (r *Report) limits() string {
	var parts []string
	if row := r.Row(PublishingClassic); len(row.Samples) > 0 {
		parts = append(parts, fmt.Sprintf("Beside a real RabbitMQ the connector publishes %s, which is %s of the speed of a program that does nothing but publish "+
			"the same messages. RabbitMQ and the simulated ThreatMatch have the same processors.", r.Row(RateClassic).figure(), row.figure()))
	}
	if row := r.Row(NoBroker); len(row.Samples) > 0 {
		text := fmt.Sprintf("With a broker that confirms at once it delivers %s", row.figure())
		if most := largest(r.Stages); most.Micros > 0 {
			text += fmt.Sprintf(". The largest part of the CPU, %s of %s for an object, goes into %s", number(most.Micros), amount(total(r.Stages), "µs"), most.Name)
		}
		parts = append(parts, text+".")
	}
	rate := r.Row(NoBroker).Median()
	if row := r.Row(RateClassic); len(row.Samples) > 0 {
		rate = row.Median()
	}
	real := "A real import is bound by neither. ThreatMatch's API is asked 20 times a second (`THREATMATCH_RATE_LIMIT`), once for each profile or alert and once for 100 indicators, " +
		"and each of OpenCTI's workers imports some 2 to 6 objects a second."
	if rate > 0 {
		const objects, workers = 30_000, 3
		real += fmt.Sprintf(" So %s objects, which the connector here publishes in %s, take %d workers %s to %s.", words.Grouped(int64(objects)),
			words.Duration(time.Duration(objects/rate*float64(time.Second)).Round(100*time.Millisecond)), workers,
			words.Duration(objects/(6*workers)*time.Second), words.Duration(objects/(2*workers)*time.Second))
	}
	return strings.Join(append(parts, real), " ")
}

func total(shares []Share) (sum float64) {
	for _, s := range shares {
		sum += s.Micros
	}
	return sum
}

func largest(shares []Share) (most Share) {
	for _, s := range shares {
		if s.Micros > most.Micros {
			most = s
		}
	}
	return most
}

// method says what was measured against what.
func (r *Report) method() string {
	return fmt.Sprintf(`## What was measured against what

- **The connector** is the program as it is released, a process of its own with a fresh state folder, its settings at their defaults but for
  the import window, no rate limit (`+"`THREATMATCH_RATE_LIMIT=0`"+`), no status address, and a queue threshold that is never reached, as nothing consumes.
- **ThreatMatch and OpenCTI** are simulated, each a process of its own on the loopback interface: %s. ThreatMatch's pages are made beforehand, but for the million, and go
  uncompressed. They have no rate limit and, unless it is said, no latency. They share the cores with the connector.
- **RabbitMQ** is a real node of its own, on disk, with persistent messages and confirms, a thousand unconfirmed at a time. "Confirms at once" is a simulated broker that
  reads every frame and keeps nothing.
- **The bare publisher** is a process that sends the very messages that the connector sent before, byte for byte, read from a file, by the same AMQP library in the plainest loop.
  It has nothing to fetch, transform, order or remember.
- **Splitting** reads the items of the medium import object by object, as strictly as the connector, and keeps nothing. It counts the objects that are delivered, though more are
  read: copies come with many items.
- **Publishing** is from the first message in the queue to the last, as the queue's length tells, asked every 20 ms on both sides alike. "The whole process" has its start and end in it,
  on both sides.
- **Memory** is what Linux holds in RAM for the process at most, its file included (VmHWM), where nothing else is said. **CPU** is user and system time of the connector alone.
- **Where the time goes** is a CPU profile of the connector's packages in a process; a sample counts for the innermost function of the project that it is in.

Input: medium is %s; the pairs import %s; the million is %s; the open corpus is %s.

## What the figures do not say

- How long a real import takes: see the verdict. `+"`connector-threatmatch preview`"+` works it out for an account.
- How a network behaves: everything is on one machine. Where 50 ms a call are said, the simulated API waits for so long.
- What OpenCTI makes of the messages: nothing consumes them here. The project's tests look at order, completeness and content.
- Anything of a machine with more cores: the simulated remotes and RabbitMQ take their share of these.

## How to repeat it

`+"```"+`
make bench          # all of this, in some ten minutes at most; needs Go, and rabbitmq-server for the rows with RabbitMQ
make bench-quick    # a minute or two, for work in progress: no goal decides
make bench-compare OLD=FOLDER    # the last run against the folder of a saved one, with benchstat
make profile        # CPU, allocation, block and mutex profiles of a whole run
BENCH_PYTHON=DIR make bench      # also the Python connector, from a checkout of its folder
`+"```"+`

It leaves report.md, report.json, benchstat.txt and the pictures in `+"`bench`"+`. Copy the folder to keep a run.
`, r.twins(), told(r.Input.Medium), told(r.Input.Pairs), told(r.Input.Million), told(r.Input.Corpus))
}

// told is an input, which may not have been imported.
func told(input string) string { return cmp.Or(input, "left out") }

func (r *Report) twins() string {
	var parts []string
	for _, t := range r.Twins {
		parts = append(parts, fmt.Sprintf("%s takes %s of CPU for an object", t.Name, amount(t.Micros, "µs")))
	}
	if len(parts) == 0 {
		return "what they take was not measured"
	}
	return strings.Join(parts, ", ")
}
