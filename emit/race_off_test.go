//go:build !race

package emit

// raceEnabled says that the race detector slows everything down.
const raceEnabled = false
