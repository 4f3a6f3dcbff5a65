//go:build race

package clientkey

// The race detector makes sync.Pool forget at random.
const raceDetector = true
