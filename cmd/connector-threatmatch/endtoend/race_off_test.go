//go:build !race

package endtoend

const withRaceDetector = false
