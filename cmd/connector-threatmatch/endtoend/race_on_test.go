//go:build race

package endtoend

const withRaceDetector = true
