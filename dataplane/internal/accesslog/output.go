package accesslog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// output is where lines go: a file that is rotated, or a writer. It belongs to one goroutine.
type output struct {
	path    string
	maxSize int64
	keep    int

	w       io.Writer // the file, or the writer of Options; nil = the file could not be opened
	file    *os.File  // nil = there is a writer only
	regular bool      // the file has a size and can be renamed: it is no device and no pipe
	size    int64
	limit   int64 // of size; beyond it the file is rotated
	torn    bool  // the last line that was written has no end
}

func openOutput(o Options) (*output, error) {
	out := &output{path: o.File, maxSize: o.MaxSize, keep: o.Keep}
	if out.maxSize == 0 {
		out.maxSize = defaultMaxSize
	}
	if out.keep == 0 {
		out.keep = defaultKeep
	}
	if o.File == "-" {
		out.path, out.w = "", o.Stdout
		if out.w == nil {
			return out, out.openStdout()
		}
		return out, nil
	}
	return out, out.open()
}

// open opens the file by its name, and creates it when it is gone.
func (o *output) open() error {
	// Not to wait for the reader of a named pipe.
	f, err := os.OpenFile(o.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NONBLOCK, 0o640)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	o.file, o.w, o.regular, o.size, o.limit = f, f, info.Mode().IsRegular(), info.Size(), o.maxSize
	o.torn = o.regular && o.size > 0 && !endsLine(o.path, o.size)
	return nil
}

// openStdout makes a second descriptor of the process's standard output. A write to the first one ends the process when nobody
// reads it any more: so Go has it for the numbers 1 and 2, as shells expect of a command.
func (o *output) openStdout() error {
	fd, err := unix.FcntlInt(uintptr(unix.Stdout), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	o.file = os.NewFile(uintptr(fd), "standard output")
	o.w = o.file
	return nil
}

// endsLine says whether the file ends with a newline: a process that was killed may have left half a line.
func endsLine(path string, size int64) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var last [1]byte
	_, err = f.ReadAt(last[:], size-1)
	return err == nil && last[0] == '\n'
}

// write writes whole lines and returns how many of them arrived. After a failure what did not is lost, and the next write
// begins a new line.
func (o *output) write(lines []byte) (int, error) {
	if o.w == nil {
		if err := o.open(); err != nil {
			return 0, err
		}
	}
	if o.torn {
		if _, err := o.w.Write([]byte{'\n'}); err != nil {
			return 0, err
		}
		o.torn = false
		o.size++
	}
	n, err := o.w.Write(lines)
	if err == nil {
		o.size += int64(n)
		return bytes.Count(lines, []byte{'\n'}), nil
	}
	whole := bytes.LastIndexByte(lines[:n], '\n') + 1
	if n > whole && (!o.regular || o.file.Truncate(o.size+int64(whole)) != nil) {
		whole, o.torn = n, true
	}
	o.size += int64(whole)
	return bytes.Count(lines[:whole], []byte{'\n'}), err
}

// full says that the file is to be rotated after n more bytes, because line bytes after those are too much. A file has one
// line at least.
func (o *output) full(n, line int) bool {
	size := o.size + int64(n)
	return o.w != nil && o.regular && o.limit > 0 && size > 0 && size+int64(line) > o.limit
}

// rotate renames the files and begins a new one. When renaming fails the old one goes on, and grows by an eighth before the
// next try: not every line is to pay for one.
func (o *output) rotate() error {
	for i := o.keep; i > 0; i-- {
		from := o.path
		if i > 1 {
			from = o.numbered(i - 1)
		}
		if err := os.Rename(from, o.numbered(i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			o.limit = o.size + max(o.maxSize/8, 1)
			return fmt.Errorf("rotate: %w", err)
		}
	}
	return o.reopen()
}

func (o *output) numbered(i int) string { return o.path + "." + strconv.Itoa(i) }

// reopen closes the file and opens what has its name now. A writer stays.
func (o *output) reopen() error {
	if o.path == "" {
		return nil
	}
	o.close()
	return o.open()
}

func (o *output) close() {
	if o.file != nil {
		o.file.Close()
		o.file, o.w = nil, nil
	}
}
