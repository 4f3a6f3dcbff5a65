//go:build race

package fleet

// The race detector makes minutes of seconds.
const raceDetector = true
