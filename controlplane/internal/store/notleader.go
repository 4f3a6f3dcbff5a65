package store

import (
	"fmt"

	"fairway/pkg/fault"
)

// NotLeaderError is the error of a replica that was asked for what only the leader does.
type NotLeaderError struct {
	Address string // the leader's sync listener; empty = not known
}

// Error names the leader.
func (e *NotLeaderError) Error() string {
	if e.Address == "" {
		return "not the leader, which is not known now"
	}
	return fmt.Sprintf("not the leader, which is %s", e.Address)
}

// LeaderSyncAddress returns where the leader's sync listener is; empty = not known.
func (e *NotLeaderError) LeaderSyncAddress() string { return e.Address }

// Unwrap gives it the kind of an operation that the current state forbids.
func (e *NotLeaderError) Unwrap() error { return fault.New(fault.Stale, "%s", e.Error()) }
