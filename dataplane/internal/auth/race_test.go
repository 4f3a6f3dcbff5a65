//go:build race

package auth

// The race detector makes sync.Pool forget at random, and so allocate.
const raceDetector = true
