package top

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tape is a terminal's other end.
type tape struct {
	mu  sync.Mutex
	b   bytes.Buffer
	err error
}

func (t *tape) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return 0, t.err
	}
	return t.b.Write(p)
}

// frames are those that were drawn.
func (t *tape) frames() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Split(t.b.String(), home)[1:]
}

// given says that the terminal is as it was, and that nothing came after.
func (t *tape) given() bool {
	return strings.HasPrefix(t.b.String(), enter) && strings.HasSuffix(t.b.String(), leave) && strings.Count(t.b.String(), leave) == 1
}

func answering(h *adminv1.FleetHealth) Fetch {
	return func(context.Context) (*adminv1.FleetHealth, *adminv1.GetStatusResponse, error) {
		return h, &adminv1.GetStatusResponse{Revision: 5}, nil
	}
}

func TestRunUntilQuit(t *testing.T) {
	for _, key := range []byte{'q', 'Q', 3} {
		synctest.Test(t, func(t *testing.T) {
			var out tape
			err := Run(t.Context(), &out, answering(fleet().Health), Options{
				Keys: func(ctx context.Context, press func(byte)) {
					time.Sleep(3500 * time.Millisecond)
					press('x')
					press(key)
					<-ctx.Done()
				},
			})
			if err != nil || !out.given() {
				t.Errorf("%v, terminal given back: %t", err, out.given())
			}
			// When an answer came, and each second.
			if n := len(out.frames()); n < 4 || n > 8 {
				t.Errorf("%d frames in 3.5s", n)
			}
			if !strings.Contains(out.frames()[0], "leader cp-1") {
				t.Errorf("the first frame: %q", out.frames()[0])
			}
		})
	}
}

func TestRunUntilInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var out tape
		if err := Run(ctx, &out, answering(nil), Options{Interval: time.Second}); err != nil || !out.given() {
			t.Errorf("%v, terminal given back: %t", err, out.given())
		}
	})
}

// A control plane that is away, and one that does not answer at all, stop nobody from looking; when it is back, so are
// the figures.
func TestRunWhileAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20500*time.Millisecond)
		defer cancel()
		start := time.Now()
		var out tape
		var under atomic.Int32
		fetch := func(ctx context.Context) (*adminv1.FleetHealth, *adminv1.GetStatusResponse, error) {
			if n := under.Add(1); n > 1 {
				t.Errorf("%d questions at once", n)
			}
			defer under.Add(-1)
			h := fleet().Health
			switch at := time.Since(start); {
			case at < 5*time.Second:
				return h, nil, nil
			case at < 10*time.Second:
				ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
				defer cancel()
				<-ctx.Done()
				return nil, nil, ctx.Err()
			case at < 15*time.Second:
				return nil, nil, errors.New("the control plane does not answer")
			}
			h.Leader = "cp-2"
			return h, nil, nil
		}
		if err := Run(ctx, &out, fetch, Options{Fatal: func(error) bool { return false }}); err != nil || !out.given() {
			t.Errorf("%v, terminal given back: %t", err, out.given())
		}
		all := strings.Join(out.frames(), "")
		for _, want := range []string{"leader cp-1", "deadline exceeded", "the control plane does not answer", "what follows is 10s old; asking again", "leader cp-2"} {
			if !strings.Contains(all, want) {
				t.Errorf("no frame says %q", want)
			}
		}
		last := out.frames()[len(out.frames())-1]
		if strings.Contains(last, "does not answer") || !strings.Contains(last, "leader cp-2") {
			t.Errorf("the last frame: %q", last)
		}
		if n := len(out.frames()); n < 20 {
			t.Errorf("%d frames in 20s: it stood still while nothing answered", n)
		}
	})
}

func TestRunGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := errors.New("the token is not known")
		var out tape
		fetch := func(context.Context) (*adminv1.FleetHealth, *adminv1.GetStatusResponse, error) { return nil, nil, bad }
		err := Run(t.Context(), &out, fetch, Options{Fatal: func(err error) bool { return errors.Is(err, bad) }})
		if !errors.Is(err, bad) {
			t.Errorf("error = %v", err)
		}
		if out.b.Len() > 0 && !out.given() {
			t.Error("the terminal was not given back")
		}
		broken := &tape{err: errors.New("the terminal is gone")}
		if err := Run(t.Context(), broken, answering(nil), Options{}); err == nil {
			t.Error("nothing can be written, and nobody says so")
		}
	})
}

func TestColors(t *testing.T) {
	lines := []Line{{"a", Title}, {"b", Bad}, {"c", Warn}, {"d", Quiet}, {"e", Plain}}
	var with, without bytes.Buffer
	if err := (&screen{w: &with, color: true}).draw(lines); err != nil {
		t.Fatal(err)
	}
	if err := (&screen{w: &without}).draw(lines); err != nil {
		t.Fatal(err)
	}
	if want := home + "\x1b[1ma" + reset + toRight + "\r\n\x1b[31mb"; !strings.Contains(with.String(), want) {
		t.Errorf("with: %q", with.String())
	}
	if want := enter + home + "a\x1b[K\r\nb\x1b[K\r\nc\x1b[K\r\nd\x1b[K\r\ne\x1b[K\x1b[J"; without.String() != want {
		t.Errorf("without: %q", without.String())
	}
}

func TestKeys(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := make(chan byte, 10)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		Keys(r)(t.Context(), func(k byte) { got <- k })
	}()
	if _, err := w.WriteString("aq"); err != nil {
		t.Fatal(err)
	}
	if a, q := <-got, <-got; a != 'a' || q != 'q' {
		t.Errorf("got %c and %c", a, q)
	}
	// It ends with the terminal.
	w.Close()
	<-ended
	// And with its context, although nobody types.
	r2, w2, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r2.Close()
	defer w2.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		Keys(r2)(ctx, func(byte) {})
	}()
	cancel()
	<-ended
}
