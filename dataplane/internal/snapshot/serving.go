package snapshot

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

// Account finds an account by its id, be it disabled or without its channel. It looks at all of them.
func (s *Snapshot) Account(id AccountID) (*Account, bool) {
	for _, u := range s.units.all() {
		for _, a := range u.accounts {
			if a.ID == id {
				return a, true
			}
		}
	}
	return nil, false
}

// News is closed when a newer snapshot than the one that is current now is there.
func (h *Holder) News() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.news
}
