//go:build race

package limit

// The race detector allocates.
const raceDetector = true
