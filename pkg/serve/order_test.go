package serve

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

// diary notes what happens in order.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) note(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

// part runs until its context ends and then returns err.
func (d *diary) part(name string, err error) Part {
	return Part{Name: name, Run: func(ctx context.Context) error {
		<-ctx.Done()
		d.note(name + " asked")
		d.note(name + " ended")
		return err
	}}
}

func TestInOrderStopsInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan error)
		go func() {
			got <- InOrder(ctx, d.part("store", nil), d.part("publish", context.Canceled), d.part("listener", nil))
		}()
		synctest.Wait()
		if len(d.lines) > 0 {
			t.Fatalf("before the stop: %q", d.lines)
		}
		cancel()
		if err := <-got; err != nil {
			t.Errorf("InOrder returned %v", err)
		}
		want := []string{"listener asked", "listener ended", "publish asked", "publish ended", "store asked", "store ended"}
		if diff := cmp.Diff(want, d.lines); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// While a part still stops, those before it are not asked yet.
func TestInOrderWaitsForEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		release := make(chan struct{})
		slow := Part{Name: "slow", Run: func(ctx context.Context) error {
			<-ctx.Done()
			<-release
			return nil
		}}
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan error)
		go func() { got <- InOrder(ctx, d.part("store", nil), slow) }()
		cancel()
		synctest.Wait()
		if len(d.lines) > 0 {
			t.Errorf("the store stops while it is in use: %q", d.lines)
		}
		close(release)
		if err := <-got; err != nil {
			t.Errorf("InOrder returned %v", err)
		}
	})
}

func TestInOrderFailures(t *testing.T) {
	broken, late := errors.New("broken"), errors.New("late")
	ends := func(err error) Part {
		return Part{Name: "short", Run: func(context.Context) error { return err }}
	}
	tests := []struct {
		name  string
		parts func(d *diary) []Part
		want  []error
	}{
		{"one fails", func(d *diary) []Part { return []Part{d.part("a", nil), ends(broken), d.part("b", nil)} }, []error{broken}},
		{"one ends", func(d *diary) []Part { return []Part{d.part("a", nil), ends(nil), d.part("b", nil)} }, []error{ErrEnded}},
		{"another fails while it stops", func(d *diary) []Part { return []Part{d.part("a", late), ends(broken), d.part("b", nil)} },
			[]error{broken, late}},
		{"two fail", func(d *diary) []Part { return []Part{ends(late), d.part("a", nil), d.part("b", nil), ends(broken)} },
			[]error{broken, late}},
		// It was not asked to stop, so this is a failure of its own.
		{"one is canceled from elsewhere", func(d *diary) []Part { return []Part{ends(context.Canceled), d.part("a", nil), d.part("b", nil)} },
			[]error{context.Canceled}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var d diary
				err := InOrder(t.Context(), tt.parts(&d)...)
				for _, want := range tt.want {
					if !errors.Is(err, want) {
						t.Errorf("error %v, want %v in it", err, want)
					}
				}
				if err == nil || !strings.Contains(err.Error(), "short: ") {
					t.Errorf("the error does not name the part: %v", err)
				}
				if !slices.Contains(d.lines, "a ended") || !slices.Contains(d.lines, "b ended") {
					t.Errorf("the others were not stopped: %q", d.lines)
				}
			})
		})
	}
}

func TestInOrderOfNothing(t *testing.T) {
	if err := InOrder(t.Context()); err != nil {
		t.Errorf("error %v", err)
	}
}
