// Package splitmix spreads the bits of numbers: the finalizer of SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast splittable
// pseudorandom number generators", 2014). It is the same in every process, and refuses to be secret: who knows a number knows
// what becomes of it.
package splitmix

// Mix returns x with its bits spread. No two numbers become the same.
func Mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
