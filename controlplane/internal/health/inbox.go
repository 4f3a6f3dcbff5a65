package health

import (
	"sync"

	"fairway/controlplane/internal/model"
)

// inbox is what the state brought since somebody looked.
type inbox struct {
	signal chan struct{} // one place: there is something

	mu       sync.Mutex
	state    *model.State   // the newest
	accounts bool           // what the judge is configured from has changed
	verdicts []model.Change // in order
}

func newInbox() *inbox { return &inbox{signal: make(chan struct{}, 1)} }

// news is what an inbox held.
type news struct {
	state    *model.State // nil = nothing
	accounts bool
	verdicts []model.Change
}

func (b *inbox) put(next *model.State, changes []model.Change) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state = next
	urgent := false
	for _, c := range changes {
		switch c.Kind {
		case model.KindAccount, model.KindCredential, model.KindChannel, model.KindSettings:
			b.accounts, urgent = true, true
		case model.KindVerdict:
			b.verdicts, urgent = append(b.verdicts, c), true
		default:
		}
	}
	if urgent {
		select {
		case b.signal <- struct{}{}:
		default:
		}
	}
}

func (b *inbox) take() news {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := news{state: b.state, accounts: b.accounts, verdicts: b.verdicts}
	b.state, b.accounts, b.verdicts = nil, false, nil
	return n
}
