package report

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// mapFlags populate the mapping when it is made, so that the hot path meets few page faults.
const mapFlags = unix.MAP_SHARED | unix.MAP_POPULATE

// allocate gives the file its size with blocks behind every byte: a write through a mapping must not find the disk
// full, because that is a SIGBUS and no error.
func allocate(f *os.File, size int) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, int64(size))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.EOPNOTSUPP) {
			return writeZeros(f, size)
		}
		return err
	}
}
