//go:build !linux

package sock

import (
	"context"
	"errors"
)

// Lookout notices hang-ups on Linux only.
type Lookout struct{}

type ticket struct{}

// NewLookout returns an error that is errors.ErrUnsupported. A nil Lookout is good everywhere.
func NewLookout() (*Lookout, error) { return nil, errors.ErrUnsupported }

// Run does nothing until ctx ends.
func (l *Lookout) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Close does nothing.
func (l *Lookout) Close() error { return nil }

func (l *Lookout) add(*Conn) bool { return false }
func (l *Lookout) remove(*Conn)   {}
