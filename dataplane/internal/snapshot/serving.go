package snapshot

import (
	"cmp"
	"slices"
)

// Serving yields the accounts that may serve: those that are enabled, of channels that are. The order is none.
func (s *Snapshot) Serving(yield func(*Account) bool) {
	for _, u := range s.units.all() {
		if u.channel == nil || u.channel.Disabled {
			continue
		}
		for _, a := range u.accounts {
			if !a.Disabled && !yield(a) {
				return
			}
		}
	}
}

// Account finds an account by its id, be it disabled or without its channel.
func (s *Snapshot) Account(id AccountID) (*Account, bool) {
	home, ok := s.homes.get(id)
	if !ok {
		return nil, false
	}
	u, ok := s.units.get(home)
	if !ok {
		return nil, false
	}
	i, ok := slices.BinarySearchFunc(u.accounts, id, func(a *Account, id AccountID) int { return cmp.Compare(a.ID, id) })
	if !ok {
		return nil, false
	}
	return u.accounts[i], true
}

// News is closed when a newer snapshot than the one that is current now is there.
func (h *Holder) News() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.news
}
