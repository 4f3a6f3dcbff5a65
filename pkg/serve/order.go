package serve

import (
	"context"
	"errors"
	"fmt"
)

// Part is something that runs for as long as the process: Run blocks until its context ends, or until it fails.
type Part struct {
	Name string
	Run  func(ctx context.Context) error
}

// ErrEnded is returned when a part ended by itself without an error, before it was asked to.
var ErrEnded = errors.New("ended by itself")

// InOrder runs all parts until ctx ends or one of them ends, then stops them one at a time in reverse order: a part's
// context ends only after the parts behind it have returned, so what others stand on stops last. It blocks until all
// have returned and returns their errors joined, without those that say only that their context ended.
func InOrder(ctx context.Context, parts ...Part) error {
	type ended struct {
		index int
		err   error
	}
	ends := make(chan ended)
	done := make([]bool, len(parts))
	cancels := make([]context.CancelFunc, len(parts))
	for i, p := range parts {
		// Each part stops by its own context, when its turn comes.
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer cancel()
		cancels[i] = cancel
		go func() { ends <- ended{i, p.Run(own)} }()
	}

	var errs []error
	if len(parts) > 0 {
		select {
		case <-ctx.Done():
		case e := <-ends:
			done[e.index] = true
			errs = append(errs, early(parts[e.index], e.err))
		}
	}
	for i := len(parts) - 1; i >= 0; i-- {
		cancels[i]()
		for !done[i] {
			e := <-ends
			done[e.index] = true
			if e.index < i {
				errs = append(errs, early(parts[e.index], e.err))
				continue
			}
			if e.err != nil && !errors.Is(e.err, context.Canceled) {
				errs = append(errs, fmt.Errorf("%s: %w", parts[e.index].Name, e.err))
			}
		}
	}
	return errors.Join(errs...)
}

// early is the error of a part that ended before its turn.
func early(p Part, err error) error {
	if err == nil {
		err = ErrEnded
	}
	return fmt.Errorf("%s: %w", p.Name, err)
}
