package top

import (
	"context"
	"io"
	"sync"
	"time"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// Fetch asks for the newest view of the fleet. It may return the one part without the other, and an error beside.
type Fetch func(ctx context.Context) (*adminv1.FleetHealth, *adminv1.GetStatusResponse, error)

// Options say how to draw. The zero value works.
type Options struct {
	Interval time.Duration              // between frames; 0 = 1s
	Size     func() (width, height int) // of the terminal, now; nil = 80 x 24
	Color    bool                       // false = none
	// Keys calls press for each key until ctx ends; nil = there is no keyboard.
	Keys func(ctx context.Context, press func(key byte))
	// Fatal says that asking again is of no use; nil = it always is.
	Fatal func(err error) bool
}

// Run draws frames on w until ctx ends or q is pressed, and gives the terminal back as it was. While nothing answers, it
// says so and goes on asking. It returns the first fatal error of fetch, and errors of w.
func Run(ctx context.Context, w io.Writer, fetch Fetch, o Options) error {
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
	if o.Size == nil {
		o.Size = func() (int, int) { return 80, 24 }
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	if o.Keys != nil {
		wg.Go(func() {
			o.Keys(ctx, func(key byte) {
				// Ctrl-C is a key where the terminal is raw.
				if key == 'q' || key == 'Q' || key == 3 {
					cancel()
				}
			})
		})
	}

	sc := &screen{w: w, color: o.Color}
	defer sc.close()
	type answer struct {
		health *adminv1.FleetHealth
		status *adminv1.GetStatusResponse
		err    error
	}
	answers := make(chan answer, 1)
	asking := false
	ask := func() {
		if asking {
			return
		}
		asking = true
		wg.Go(func() {
			h, st, err := fetch(ctx)
			answers <- answer{h, st, err}
		})
	}
	var v View
	var grown growth
	tick := time.NewTicker(o.Interval)
	defer tick.Stop()
	ask()
	for {
		select {
		case <-ctx.Done():
			return nil
		case a := <-answers:
			asking = false
			if ctx.Err() != nil {
				return nil
			}
			if a.err != nil && o.Fatal != nil && o.Fatal(a.err) {
				return a.err
			}
			v.take(a.health, a.status, a.err, time.Now(), &grown)
		case <-tick.C:
			ask()
		}
		width, height := o.Size()
		if err := sc.draw(Frame(&v, time.Now(), width, height, true)); err != nil {
			return err
		}
	}
}

// take keeps what is shown when nothing new came.
func (v *View) take(h *adminv1.FleetHealth, st *adminv1.GetStatusResponse, err error, now time.Time, g *growth) {
	v.Err = err
	if h != nil {
		v.Health, v.Fetched = h, now
		v.Minute = g.observe(h, now)
	}
	if st != nil {
		v.Status = st
		if v.Health == nil {
			v.Fetched = now
		}
	}
}
