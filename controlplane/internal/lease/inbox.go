package lease

import (
	"sync"

	"fairway/controlplane/internal/model"
)

// inbox is what the state brought since somebody looked.
type inbox struct {
	signal chan struct{} // one place: there is something

	mu      sync.Mutex
	state   *model.State // the newest
	changed map[resource]struct{}
}

// resource is one that can have limits.
type resource struct {
	kind model.Kind
	id   string
}

func newInbox() *inbox {
	return &inbox{signal: make(chan struct{}, 1), changed: map[resource]struct{}{}}
}

func (b *inbox) put(next *model.State, changes []model.Change) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state = next
	for _, c := range changes {
		if _, ok := scopeOf(c.Kind); ok && (!limitless(c.Old) || !limitless(c.New)) {
			b.changed[resource{c.Kind, c.ID}] = struct{}{}
		}
	}
	select {
	case b.signal <- struct{}{}:
	default:
	}
}

func (b *inbox) take() (*model.State, map[resource]struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	state, changed := b.state, b.changed
	b.state, b.changed = nil, map[resource]struct{}{}
	return state, changed
}
