package splitmix

import "testing"

// TestMix compares with the first numbers of the reference implementation (S. Vigna, splitmix64.c) from the seed 1234567.
func TestMix(t *testing.T) {
	const golden = 0x9e3779b97f4a7c15
	seed := uint64(1234567)
	for i, want := range []uint64{6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821} {
		if got := Mix(seed); got != want {
			t.Errorf("number %d is %d, want %d", i+1, got, want)
		}
		seed += golden
	}
}
