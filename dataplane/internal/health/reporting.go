package health

import (
	"math"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"fairway/dataplane/internal/snapshot"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

const (
	// maxReported bounds the accounts of one report; others wait for the next.
	maxReported = 5_000
	// maxFamilies bounds the families of one account in it.
	maxFamilies = 64
)

// Report says what happened since the report before. The first one on a stream also says all that still holds.
func (k *Keeper) Report(now time.Time) *syncv1.HealthReport {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.adopt(now)
	nowMS := now.UnixMilli()
	k.sequence++
	r := &syncv1.HealthReport{Sequence: k.sequence, Stats: k.proxyStats(now)}
	all := k.whole
	k.whole = false
	if all {
		for _, w := range k.list {
			if w.holds(nowMS) {
				w.touch()
			}
		}
	}
	families := k.familiesByCell(nowMS)
	for w := k.dirty.Swap(nil); w != nil; {
		next := w.next
		// What comes from here on is of the next report.
		w.reported.Store(false)
		if len(r.Accounts) == maxReported {
			w.touch()
			k.hurry()
		} else if k.wards[w.id] == w {
			if d := k.delta(w, families[w.cell], nowMS, all); d != nil {
				r.Accounts = append(r.Accounts, d)
			}
		}
		w = next
	}
	k.sums.Load().each(func(_, model string, s *sums) {
		if taken := s.take(model); taken != nil {
			r.Latencies = append(r.Latencies, taken)
		}
	})
	k.side.Lock()
	r.Probes, k.outcomes = k.outcomes, nil
	k.side.Unlock()
	return r
}

// holds says whether there is something about the account that a leader who knows nothing should hear.
func (w *ward) holds(nowMS int64) bool {
	_, room := w.left(nowMS)
	return room || w.bad.Load() > 0 || w.cell.InFlight.Load() > 0 || w.resting(w.rest.Load(), nowMS)
}

// delta is what happened at one account; nil = nothing. The caller holds the lock.
func (k *Keeper) delta(w *ward, families []*syncv1.FamilyRest, nowMS int64, all bool) *syncv1.AccountDelta {
	d := &syncv1.AccountDelta{
		AccountId: string(w.id), FailuresInRow: uint32(max(w.bad.Load(), 0)), InFlight: uint32(max(w.cell.InFlight.Load(), 0)),
		Families: families,
	}
	news := all || len(families) > 0 || w.told.inFlight != int32(d.InFlight)
	w.told.inFlight = int32(d.InFlight)
	if f := w.flow.Load(); f != nil {
		news = k.counts(w, f, d) || news
	}
	if own := w.room.Load(); own != 0 && (w.roomReset.Load() > nowMS || nowMS-w.roomHeard.Load() < roomTime) {
		share := float64(math.Float32frombits(own - 1))
		d.Headroom = &share
		d.HeadroomReset = span64(w.roomReset.Load() - nowMS)
	}
	if r := w.rest.Load(); w.resting(r, nowMS) && (all || r != w.toldRest) {
		w.toldRest = r
		news = true
		d.Rest, d.RestReason, d.RestOrdered = span64(r.until-nowMS), r.reason, r.ordered
		d.Disabled, d.Organization = r.disabled, r.organization
	}
	if p := w.plan.Load(); p != nil {
		if s := &w.account.Load().Caps.Session; s.Length > 0 && p.ends(s, nowMS) != 0 {
			d.SessionAge = span64(nowMS - p.opened.Load())
		}
	}
	if !news {
		return nil
	}
	return d
}

// counts fills in what was counted since the last report; false = nothing was.
func (k *Keeper) counts(w *ward, f *flow, d *syncv1.AccountDelta) bool {
	t := &w.told
	news := false
	since := func(now uint64, was *uint64) uint64 {
		n := now - *was
		*was = now
		news = news || n != 0
		return n
	}
	d.Ok = since(f.ok.Load(), &t.ok)
	d.Tokens = since(f.tokens.Load(), &t.tokens)
	d.DurationMsSum = since(f.durations.Load(), &t.durations)
	d.DurationCount = since(f.ended.Load(), &t.ended)
	d.TtftRatioSum = float64(since(f.ratioSum.Load(), &t.ratioSum)) / ratioUnit
	d.TtftRatioCount = since(f.ratioCount.Load(), &t.ratioCount)
	last := -1
	var histogram [buckets]uint32
	for i := range f.ttft {
		if f.ttft[i].Load() != 0 {
			histogram[i] = f.ttft[i].Swap(0)
			last = i
		}
	}
	if last >= 0 {
		d.TtftHistogram = append([]uint32(nil), histogram[:last+1]...)
		news = true
	}
	all := f.faults.Load()
	if all == nil {
		return news
	}
	if t.faults == nil {
		t.faults = &[2 * maxReasons]uint32{}
	}
	for i := range all.n {
		now := all.n[i].Load()
		n := now - t.faults[i]
		if n == 0 {
			continue
		}
		t.faults[i] = now
		news = true
		d.Faults = append(d.Faults, &syncv1.FaultCount{
			Reason: k.reasons.names[i%maxReasons], Count: uint64(n), Unhealthy: i >= maxReasons,
		})
	}
	return news
}

// familiesByCell are the rests of families that began here.
func (k *Keeper) familiesByCell(nowMS int64) map[*snapshot.Cell][]*syncv1.FamilyRest {
	b := k.bars.Load()
	if b == nil || len(b.families) == 0 {
		return nil
	}
	out := make(map[*snapshot.Cell][]*syncv1.FamilyRest)
	for at, r := range b.families {
		if r.own && r.until > nowMS && len(out[at.cell]) < maxFamilies {
			out[at.cell] = append(out[at.cell], &syncv1.FamilyRest{Family: at.family, Rest: span64(r.until - nowMS), Reason: r.reason})
		}
	}
	return out
}

func (k *Keeper) proxyStats(now time.Time) *syncv1.ProxyStats {
	n := func(s Stat) uint64 { return k.stats[s].n.Load() }
	return &syncv1.ProxyStats{
		Requests: n(Requests), Failures: n(Failures), Unavailable: n(Unavailable), Attempts: n(attempts),
		AttemptFailures: n(attemptFailures), Retries: n(Retries), Spilled: n(Spilled), Panicked: n(Panicked),
		MissedFound: n(MissedFound), MissedFinal: n(MissedFinal), Hedges: n(Hedges), Throttled: n(throttled),
		InFlight: uint64(max(int64(n(inFlight)), 0)), InputTokens: n(InputTokens), OutputTokens: n(OutputTokens),
		Uptime: durationpb.New(max(now.Sub(k.started), 0)),
	}
}

func span64(ms int64) *durationpb.Duration {
	return durationpb.New(time.Duration(min(max(ms, 0), int64(maxSpan/time.Millisecond))) * time.Millisecond)
}

// maxSpan bounds what is told: nothing here lasts longer than the end of a month.
const maxSpan = 32 * 24 * time.Hour
