package page

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
)

// activity is what the connector is at, in a word or two.
func (v view) activity() string {
	switch v.Activity {
	case "starting":
		return "Starting"
	case "idle":
		return "At rest"
	case "running":
		return "Running"
	case "stopping":
		return "Stopping"
	case "stopped":
		return "Stopped"
	}
	return v.Activity
}

// number is one for machines.
func number[N int | int64 | float64](n N) string { return fmt.Sprint(n) }

// sentence gives what the connector says its full stop.
func sentence(text string) string {
	if text == "" || strings.HasSuffix(text, ".") || strings.HasSuffix(text, "!") || strings.HasSuffix(text, "?") {
		return text
	}
	first, width := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + text[width:] + "."
}

// rate writes how many a second, or a minute or an hour of what comes less often.
func rate(perSecond float64, unit string) string {
	switch {
	case math.IsNaN(perSecond) || math.IsInf(perSecond, 0) || perSecond < 0.5/3600:
		return "0 " + unit + "/s"
	case perSecond >= 9.95:
		return words.Grouped(int64(perSecond+0.5)) + " " + unit + "/s"
	case perSecond >= 0.1:
		return fmt.Sprintf("%.1f %s/s", perSecond, unit)
	case perSecond >= 1./60:
		return fmt.Sprintf("%.0f %s/min", perSecond*60, unit)
	}
	return fmt.Sprintf("%.0f %s/h", perSecond*3600, unit)
}

// amount writes how much of unit there is.
func amount(n int64, unit string) string {
	if unit == "bytes" {
		return words.Bytes(n)
	}
	return words.Grouped(n) + " " + unit
}

// filled writes how much of a bound is used.
func filled(used, bound int64, unit string) string {
	if unit == "bytes" {
		return words.Bytes(used) + " of " + words.Bytes(bound)
	}
	return words.Grouped(used) + " of " + words.Grouped(bound) + " " + unit
}

// percent never says 100 of what is not complete, nor 0 of what has begun.
func percent(share float64) string {
	switch {
	case math.IsNaN(share) || share <= 0:
		return "0 %"
	case share >= 1:
		return "100 %"
	case share < 0.01:
		return "less than 1 %"
	}
	const rounding = 1e-9 // 1 - 0.9 is a little less than 0.1
	return fmt.Sprintf("%.0f %%", min(math.Floor(share*100+rounding), 99))
}

// span is so many seconds, a century at most.
func span(seconds float64) time.Duration {
	const century = 100 * 365 * 24 * 3600
	return time.Duration(min(max(seconds, 0), century) * float64(time.Second))
}

func seconds(s float64) string { return lasting(span(s)) }

// lasting writes a duration in its two largest units.
func lasting(d time.Duration) string {
	switch {
	case d < time.Second:
		return "less than 1 s"
	case d < 90*time.Second:
		return fmt.Sprintf("%.0f s", d.Truncate(time.Second).Seconds())
	case d < 90*time.Minute:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 48*time.Hour:
		d = d.Round(time.Minute)
		return two(int(d/time.Hour), "h", int(d%time.Hour/time.Minute), "min")
	}
	d = d.Round(time.Hour)
	return two(int(d.Hours())/24, "days", int(d.Hours())%24, "h")
}

func two(n int, unit string, m int, smaller string) string {
	if m == 0 {
		return fmt.Sprintf("%s %s", words.Grouped(int64(n)), unit)
	}
	return fmt.Sprintf("%s %s %d %s", words.Grouped(int64(n)), unit, m, smaller)
}

// moment is a time as it is written at another one.
type moment struct{ at, now time.Time }

func newMoment(at, now time.Time) moment { return moment{at: at.UTC(), now: now.UTC()} }

// Known tells whether there is one.
func (m moment) Known() bool { return !m.at.IsZero() }

// ISO is for machines.
func (m moment) ISO() string { return m.at.Format(time.RFC3339) }

// Clock leaves out the day where that is today, and the seconds but for what has just been.
func (m moment) Clock() string {
	switch {
	case m.at.Format(time.DateOnly) == m.now.Format(time.DateOnly):
		return m.at.Format("15:04") + " UTC"
	case m.at.Year() == m.now.Year():
		return m.at.Format("2 Jan, 15:04") + " UTC"
	}
	return m.at.Format("2 Jan 2006, 15:04") + " UTC"
}

// Second is the time of day to the second.
func (m moment) Second() string { return m.at.Format("15:04:05") + " UTC" }

// Relative is how long ago, or in how long.
func (m moment) Relative() string {
	switch d := m.now.Sub(m.at); {
	case d > -time.Second && d < time.Second:
		return "now"
	case d < 0:
		return "in " + lasting(-d)
	default:
		return lasting(d) + " ago"
	}
}

// station names a station as a heading.
func station(name string) string {
	switch name {
	case snapshot.Connector:
		return "Connector"
	case snapshot.QueueName:
		return "Queue"
	}
	return name
}

// system names what stands at a station: what people have to look at.
func system(name string) string {
	switch name {
	case snapshot.Connector:
		return "Connector"
	case snapshot.QueueName:
		return "RabbitMQ"
	}
	return name
}

// task is what a stage does.
func task(stage string) string {
	switch stage {
	case "fetch":
		return "reads from ThreatMatch"
	case "transform":
		return "makes it fit OpenCTI"
	case "emit":
		return "puts in order and packs"
	case "publish":
		return "sends, until RabbitMQ confirms"
	}
	return ""
}

// purpose is what a run is for.
func purpose(run string) string {
	switch run {
	case "import":
		return "Import"
	case "backfill":
		return "Backfill"
	case "resend":
		return "Sending again"
	}
	return run
}

// cause is in words why a request to ThreatMatch failed.
func cause(name string) string {
	switch name {
	case "rate_limited":
		return "asked to slow down (429)"
	case "unauthorized":
		return "credentials or token not taken"
	case "client_error":
		return "refused for another reason (4xx, such as 403 and 404)"
	case "server_error":
		return "error of the server (5xx)"
	case "unreadable":
		return "answer that cannot be read"
	case "timeout":
		return "no answer in time"
	case "connection":
		return "no connection, or a broken one"
	case "tls":
		return "TLS: certificate not trusted, or no TLS"
	case "other":
		return "another cause"
	}
	return name
}
