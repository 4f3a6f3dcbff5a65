package serve

import (
	"errors"
	"syscall"
)

// refused says that nobody listens, or that the socket went away.
func refused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT)
}
