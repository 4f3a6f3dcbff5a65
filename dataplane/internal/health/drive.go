package health

// For who reports and applies without Run, as the simulator does in its own time.

// News is signalled when something has happened that is worth a report at once.
func (k *Keeper) News() <-chan struct{} { return k.news }

// Anew has the next report say all that still holds: a leader that knows nothing will read it.
func (k *Keeper) Anew() {
	k.mu.Lock()
	k.whole = true
	k.mu.Unlock()
}
