package limit

import "time"

const (
	// safePart is what the policy Safe lets through over the whole fleet: one part in so many of a limit.
	safePart = 4
	// unknownFleet is how many proxies are assumed by one that never heard how many there are.
	unknownFleet = 25
)

// share is what this proxy lets through of a limit under the policy Safe: a quarter, divided by the proxies that had leases
// when the leader was heard last, and at least one request. Requests and tokens per minute get it anew each minute, slots
// as they come back, everything else once.
func (p *purse) share(proxies int64) int64 {
	if proxies <= 0 {
		proxies = unknownFleet
	}
	n := p.amount.Load() / safePart / proxies
	if p.what == Requests || p.what == Concurrency {
		n = max(n, 1)
	}
	return n
}

// layOut puts the share aside, if it is not there.
func (p *purse) layOut(proxies, now int64) {
	at := p.asideAt.Load()
	switch {
	case at == 0:
		if p.asideAt.CompareAndSwap(0, now) {
			n := p.share(proxies)
			p.laid.Add(n)
			p.aside.give(n)
		}
	case p.over == Minute && now-at >= int64(time.Minute):
		if p.asideAt.CompareAndSwap(at, now) {
			n := p.share(proxies)
			p.laid.Store(n)
			p.aside.balance.Store(n)
		}
	}
}

// outside is what the policy let through and nobody gave back.
func (p *purse) outside() int64 { return minus(p.laid.Load(), p.aside.balance.Load()) }

// reckon charges the open window for what the policy let through, now that the leader is back. Slots stay where they are:
// they come back there. The caller holds Keeper.mu.
func (p *purse) reckon(now int64) {
	if p.what == Concurrency {
		return
	}
	was := p.asideAt.Swap(0)
	spent := minus(p.laid.Swap(0), p.aside.balance.Swap(0))
	if was != 0 || spent != 0 {
		p.live(now).give(-spent)
	}
}
