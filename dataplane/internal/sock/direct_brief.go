//go:build linux && !race

package sock

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// direct says that descriptors can be read and written without Go's poller in between.
const direct = true

// brief is up to which size, in bytes, a call is too short to tell the scheduler of it: on a socket that does not block it
// takes a few microseconds, and saying so would cost a tenth of one, twice.
const brief = 16 << 10

func readFD(fd int, p []byte) (int, error) {
	if len(p) == 0 || len(p) > brief {
		return unix.Read(fd, p)
	}
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	return result(n, errno)
}

func writeFD(fd int, a, b []byte) (int, error) {
	switch {
	case len(b) > 0:
		return unix.Writev(fd, [][]byte{a, b})
	case len(a) == 0 || len(a) > brief:
		return unix.Write(fd, a)
	}
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&a[0])), uintptr(len(a)))
	return result(n, errno)
}

func pollFD(p *unix.PollFd) (int, error) {
	var now unix.Timespec
	n, _, errno := syscall.RawSyscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(p)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	return result(n, errno)
}

func result(n uintptr, errno syscall.Errno) (int, error) {
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}
