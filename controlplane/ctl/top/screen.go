package top

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ANSI sequences that every terminal of the last thirty years knows.
const (
	enter   = "\x1b[?1049h\x1b[?25l\x1b[2J" // the other screen, no cursor, empty
	leave   = "\x1b[0m\x1b[?25h\x1b[?1049l" // and back
	home    = "\x1b[H"
	toRight = "\x1b[K" // clears what the frame before left
	toEnd   = "\x1b[J"
	reset   = "\x1b[0m"
)

func sgr(s Style) string {
	switch s {
	case Title:
		return "\x1b[1m"
	case Bad:
		return "\x1b[31m"
	case Warn:
		return "\x1b[33m"
	case Quiet:
		return "\x1b[2m"
	default:
		return ""
	}
}

// screen draws frames over each other. The terminal may be raw, so lines end with CR LF.
type screen struct {
	w     io.Writer
	color bool
	open  bool
}

// draw writes a frame in one piece, so that it does not flicker over a slow line.
func (s *screen) draw(lines []Line) error {
	var b strings.Builder
	if !s.open {
		b.WriteString(enter)
		s.open = true
	}
	b.WriteString(home)
	for i, l := range lines {
		if i > 0 {
			b.WriteString("\r\n")
		}
		style := ""
		if s.color {
			style = sgr(l.Style)
		}
		b.WriteString(style + l.Text)
		if style != "" {
			b.WriteString(reset)
		}
		b.WriteString(toRight)
	}
	b.WriteString(toEnd)
	_, err := io.WriteString(s.w, b.String())
	return err
}

// close gives the terminal back as it was.
func (s *screen) close() {
	if s.open {
		_, _ = io.WriteString(s.w, leave)
		s.open = false
	}
}

// Keys reads what is typed at a terminal until ctx ends. It polls, because nothing ends a read.
func Keys(f *os.File) func(ctx context.Context, press func(key byte)) {
	return func(ctx context.Context, press func(key byte)) {
		const wait = 100 // ms
		buf := make([]byte, 64)
		for ctx.Err() == nil {
			fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}
			n, err := unix.Poll(fds, wait)
			if errors.Is(err, unix.EINTR) || err == nil && n == 0 {
				continue
			}
			if err != nil || fds[0].Revents&unix.POLLIN == 0 {
				return // the terminal is gone
			}
			n, err = f.Read(buf)
			for _, k := range buf[:n] {
				press(k)
			}
			if err != nil {
				return
			}
		}
	}
}
