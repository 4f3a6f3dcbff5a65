//go:build !race

package clientkey

const raceDetector = false
