package report

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrInUse says that another process works on the same state directory.
var ErrInUse = errors.New("state directory is in use by another process")

// lock is an flock on a file. The kernel drops it when the process ends, however it ends; so who holds it knows that
// every other boot in the directory is over.
type lock struct {
	file *os.File
}

func acquire(path string) (*lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open spool lock: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		holder, _ := io.ReadAll(io.LimitReader(f, 32))
		err = fmt.Errorf("%w: %s is held by pid %s", ErrInUse, path, strings.TrimSpace(string(holder)))
		return nil, errors.Join(err, f.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock usage spool: %w", err), f.Close())
	}
	// For the message above only; a full disk may leave it empty.
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt(fmt.Appendln(nil, os.Getpid()), 0)
	}
	return &lock{file: f}, nil
}

func (l *lock) release() error {
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("release spool lock: %w", err)
	}
	return nil
}
