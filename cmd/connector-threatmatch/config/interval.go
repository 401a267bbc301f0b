package config

import "fmt"

// What the schedule is called today, and in the Python connector's older releases.
const (
	periodKey   = "connector.duration_period"
	intervalKey = "threatmatch.interval"
	intervalEnd = "2027-01-01" // announced by the Python connector
)

// takeOlderInterval lets the older form of CONNECTOR_DURATION_PERIOD count where that is not set itself, and warns of it.
func takeOlderInterval(settings []effective) []Warning {
	var period, interval *effective
	for i := range settings {
		switch settings[i].key() {
		case periodKey:
			period = &settings[i]
		case intervalKey:
			interval = &settings[i]
		}
	}
	if interval.text == "" {
		return nil
	}
	if period.where.set {
		return []Warning{Warning(fmt.Sprintf("%s is ignored, for %s is set; remove it", interval.where, period.where))}
	}
	var read Config
	if !interval.value.read(&read, interval.text) {
		return nil // the setting itself is told to be wrong
	}
	days := "P" + interval.text + "D"
	period.text, period.where = days, interval.where
	return []Warning{Warning(fmt.Sprintf("%s is the older form of %s, whose removal is announced for %s: %s is taken for so many days, so set %s=%s in its place. "+
		"Releases of the Python connector before 7.260803 took it for minutes, which would be PT%sM",
		interval.where, period.env, intervalEnd, interval.text, period.env, days, interval.text))}
}
