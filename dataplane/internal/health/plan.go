package health

import (
	"sync/atomic"
	"time"

	"fairway/dataplane/internal/snapshot"
)

// plan is how much of an account's caps is used, as far as this proxy knows. The caps are of the fleet; a proxy has its
// part of them.
//
// Requests and tokens per minute are kept by the generic cell rate algorithm (ITU-T I.371), with an eighth of the part as
// burst and the rest spread over the minute, so that no minute has more than the part. Tokens are known when a request is
// settled: they are paid for afterwards, and what is under way counts with the account's mean.
type plan struct {
	ppm      atomic.Uint32 // this proxy's part, in millionths; 0 = all
	most     atomic.Int32  // attempts under way here; 0 = not worked out yet, -1 = none
	requests gcra
	tokens   gcra

	// The usage window; it opens with the first request after the one before has ended.
	opened        atomic.Int64 // unix ms; 0 = never
	used          atomic.Int64 // requests
	usedTokens    atomic.Int64
	othersUsed    atomic.Int64 // by other proxies, as the leader says
	othersTokens  atomic.Int64
	othersStarted atomic.Int64 // of which window, by its start
}

// capped says whether there is any cap.
func capped(c *snapshot.Caps) bool {
	return int64(c.Concurrency)|c.RPM|c.TPM|int64(c.Session.Length) != 0
}

// whole is all of a cap, in ppm.
const whole = 1_000_000

// part is this proxy's part of a cap.
func (p *plan) part(limit int64) float64 {
	ppm := p.ppm.Load()
	if ppm == 0 {
		return float64(limit)
	}
	return float64(limit) * float64(ppm) / whole
}

// gcra is a limit per minute: the time at which all that was let through is paid for.
type gcra struct{ paid atomic.Int64 } // unix ns

// burstPart is the burst's part of what a minute allows.
const burstPart = 8

// pace is what one unit costs, and how much may be owed, in ns, for so many units a minute.
func pace(perMinute float64) (cost, credit float64) {
	burst := max(1, perMinute/burstPart)
	if burst == 1 && perMinute < 1 {
		return float64(time.Minute) / max(perMinute, 1e-9), 0
	}
	cost = float64(time.Minute) / (perMinute - burst + 1)
	return cost, (burst - 1) * cost
}

// spent says whether the limit is used up, with ahead units that will be paid for later.
func (g *gcra) spent(perMinute, ahead float64, nowNS int64) bool {
	cost, credit := pace(perMinute)
	return float64(max(g.paid.Load()-nowNS, 0))+ahead*cost > credit
}

// pay pays for units.
func (g *gcra) pay(perMinute, units float64, nowNS int64) {
	cost, _ := pace(perMinute)
	price := int64(min(units*cost, float64(24*time.Hour)))
	for {
		was := g.paid.Load()
		if g.paid.CompareAndSwap(was, max(was, nowNS)+price) {
			return
		}
	}
}

// refuse says which of the caps forbids another attempt.
func (p *plan) refuse(w *ward, caps *snapshot.Caps, nowMS int64) Refusal {
	under := w.cell.InFlight.Load()
	if caps.Concurrency > 0 {
		most := p.most.Load()
		if most == 0 {
			most = int32(min(caps.Concurrency, 1<<30))
		}
		if under >= most {
			return Busy
		}
	}
	nowNS := nowMS * int64(time.Millisecond)
	if caps.RPM > 0 && p.requests.spent(p.part(caps.RPM), 0, nowNS) {
		return RequestsSpent
	}
	if caps.TPM > 0 && p.tokens.spent(p.part(caps.TPM), float64(max(under, 0))*w.meanTokens(), nowNS) {
		return TokensSpent
	}
	if caps.Session.Length > 0 && p.sessionSpent(&caps.Session, nowMS) {
		return SessionSpent
	}
	return 0
}

// began counts an attempt.
func (p *plan) began(caps *snapshot.Caps, nowMS int64) {
	if caps.RPM > 0 {
		p.requests.pay(p.part(caps.RPM), 1, nowMS*int64(time.Millisecond))
	}
	if caps.Session.Length > 0 {
		p.open(&caps.Session, nowMS)
		p.used.Add(1)
	}
}

// open opens a window if none is.
func (p *plan) open(s *snapshot.Session, nowMS int64) {
	if at := p.opened.Load(); (at == 0 || nowMS >= at+s.Length.Milliseconds()) && p.opened.CompareAndSwap(at, nowMS) {
		p.used.Store(0)
		p.usedTokens.Store(0)
	}
}

// ends is when the open window does, unix ms; 0 = none is open.
func (p *plan) ends(s *snapshot.Session, nowMS int64) int64 {
	at := p.opened.Load()
	if end := at + s.Length.Milliseconds(); at != 0 && nowMS < end {
		return end
	}
	return 0
}

func (p *plan) sessionSpent(s *snapshot.Session, nowMS int64) bool {
	if p.ends(s, nowMS) == 0 {
		return false
	}
	used, tokens := p.used.Load(), p.usedTokens.Load()
	if p.othersStarted.Load() == p.opened.Load() {
		used += p.othersUsed.Load()
		tokens += p.othersTokens.Load()
	}
	return s.Requests > 0 && used >= s.Requests || s.Tokens > 0 && tokens >= s.Tokens
}

// Spent notes the tokens that a request used at an account, when it is settled.
func (k *Keeper) Spent(a *snapshot.Account, tokens int64) {
	if tokens <= 0 {
		return
	}
	w := k.ward(a)
	f := w.traffic()
	f.tokens.Add(uint64(tokens))
	f.answers.Add(1)
	w.touch()
	if a.Caps.TPM == 0 && a.Caps.Session.Length == 0 {
		return
	}
	now := k.o.Now()
	p := w.capped()
	if a.Caps.TPM > 0 {
		p.tokens.pay(p.part(a.Caps.TPM), float64(tokens), now.UnixNano())
	}
	if s := &a.Caps.Session; s.Length > 0 && p.ends(s, now.UnixMilli()) != 0 {
		p.usedTokens.Add(tokens)
	}
}

// meanTokens is what a request at the account uses.
func (w *ward) meanTokens() float64 {
	f := w.flow.Load()
	if f == nil {
		return 0
	}
	n := f.answers.Load()
	if n == 0 {
		return 0
	}
	return float64(f.tokens.Load()) / float64(n)
}

// allot works out how many attempts may be under way here. The fleet's cap is shared out; while it is known how many are
// under way elsewhere, this proxy may take its part of what is free beyond that, but never so much that the cap is broken.
//
// How many are under way elsewhere is known for an eighth of what an attempt takes: then one in eight may have changed.
func (w *ward) allot(limit int, n, place int, nowMS int64) int32 {
	ppm, f := uint32(0), w.facts
	if f != nil && n > 1 {
		ppm = f.ppm
	}
	part := limit
	switch {
	case ppm > 0:
		part = int((int64(limit)*int64(ppm) + whole/1000) / whole)
	case n > 1:
		// Equal parts; what is left over goes to some proxies, to others for each account.
		part = limit / n
		if place >= 0 && (place+int(hash(string(w.id), "", 0)%uint64(n)))%n < limit%n {
			part++
		}
	}
	if f != nil && f.fresh(nowMS) {
		own := int(max(w.cell.InFlight.Load(), 0))
		free := limit - int(f.others) - own
		share := 1 / float64(max(n, 1))
		if ppm > 0 {
			share = float64(ppm) / whole
		}
		part = min(max(part, own+int(float64(max(free, 0))*share)), limit-int(f.others))
	}
	if part <= 0 {
		return -1
	}
	return int32(min(part, 1<<30))
}

// planning sets what the caps leave to this proxy. The caller holds the lock.
func (k *Keeper) planning(nowMS int64) {
	n := max(len(k.proxies), 1)
	for _, w := range k.capped {
		a := w.account.Load()
		if !capped(&a.Caps) {
			w.cell.Full.Store(0)
			continue
		}
		p := w.capped()
		ppm := uint32(whole / n)
		if w.facts != nil && w.facts.ppm > 0 {
			ppm = w.facts.ppm
		}
		p.ppm.Store(ppm)
		if a.Caps.Concurrency > 0 {
			most := w.allot(a.Caps.Concurrency, n, k.self, nowMS)
			p.most.Store(most)
			w.cell.Full.Store(max(most, 1)) // 0 would be no cap; Refuses knows
		} else {
			w.cell.Full.Store(0)
		}
		if s := &a.Caps.Session; s.Length > 0 && p.sessionSpent(s, nowMS) {
			w.cell.Cool(p.ends(s, nowMS)) // draws leave it alone
		}
	}
}
