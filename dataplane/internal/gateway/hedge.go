package gateway

import (
	"context"
	"fmt"
	"time"

	"fairway/dataplane/internal/health"
	"fairway/dataplane/internal/route"
	"fairway/dataplane/internal/upstream"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/operation"
)

// landed is what one of two attempts came to.
type landed struct {
	second   bool
	response *upstream.Response
	err      error
	panicked any
}

// good says whether it is an answer that is worth taking.
func (l *landed) good() bool {
	return l.err == nil && l.panicked == nil && l.response.Status >= 200 && l.response.Status < 300
}

// await sends the request and waits for the head of its response. The first attempt of a group that hedges gets company when
// it waits longer than most.
func (x *exchange) await() (*upstream.Response, error) {
	if !x.group.Hedge.On || x.attempt > 1 || x.permit != "" || !x.hedgeable() {
		return x.g.upstream.Do(context.Background(), &x.call, &x.request)
	}
	hedges := x.group.Cell.Hedges()
	hedges.Asked(x.group.Hedge.ExtraPPM)
	after := x.group.Hedge.After
	if after == 0 {
		after, _ = hedges.Slow()
	}
	if after == 0 {
		response, err := x.g.upstream.Do(context.Background(), &x.call, &x.request)
		if l := (landed{response: response, err: err}); l.good() {
			hedges.Waited(x.g.now().Sub(x.began))
		}
		return response, err
	}
	r := race{x: x, landing: make(chan landed, 2)}
	defer r.join()
	return r.run(after)
}

// hedgeable says whether the request may be made twice: nothing is left behind by it, its body is there to be sent again, and
// more than one account can serve it.
func (x *exchange) hedgeable() bool {
	switch facts := x.op.Facts(); {
	case x.pinned != nil, x.searching, facts.Body != operation.JSON,
		x.group.Affinity == int32(resourcev1.Affinity_AFFINITY_HARD):
		return false
	case facts.Talk, counts(x.op):
		return true
	}
	switch x.op {
	case operation.Completions, operation.Embeddings, operation.EmbedContent, operation.BatchEmbedContents, operation.Rerank,
		operation.Moderations:
		return true
	default:
		return false
	}
}

// race is a request's first attempt and the second that may join it. Both are sent from goroutines of their own; all else
// is done on the request's, which outlives them: join waits for whatever is on its way.
type race struct {
	x       *exchange
	y       *exchange // the second; nil = there is none
	landing chan landed
	flying  int
}

// fly sends an attempt.
func (r *race) fly(of *exchange, second bool) {
	r.flying++
	go func() {
		l := landed{second: second}
		defer func() {
			l.panicked = recover()
			r.landing <- l
		}()
		l.response, l.err = of.g.upstream.Do(context.Background(), &of.call, &of.request)
	}()
}

// land waits for an attempt.
func (r *race) land() landed {
	l := <-r.landing
	r.flying--
	if l.panicked != nil {
		panic(fmt.Sprintf("in an attempt of a hedged request: %v", l.panicked))
	}
	return l
}

// join ends what is on its way.
func (r *race) join() {
	if r.flying > 0 {
		r.x.abort()
	}
	for ; r.flying > 0; r.flying-- {
		if l := <-r.landing; l.response != nil {
			_ = l.response.Close()
		}
	}
	if r.y != nil {
		r.dropSecond()
	}
}

// run returns what the request goes on with: the first good answer, or what became of the first attempt when there is none.
func (r *race) run(after time.Duration) (*upstream.Response, error) {
	x := r.x
	r.fly(x, false)
	timer := time.NewTimer(after)
	defer timer.Stop()
	select {
	case l := <-r.landing:
		r.landing <- l // for land, which looks after panics
	case <-timer.C:
		x.now = x.g.now()
		r.hedge()
	}
	l := r.land()
	x.now = x.g.now()
	if l.good() {
		// At least so long: who was slower than a second attempt counts as that slow.
		x.group.Cell.Hedges().Waited(x.now.Sub(x.began))
	}
	if r.y == nil {
		return l.response, l.err
	}
	if !l.good() && r.flying > 0 {
		return r.after(l)
	}
	if l.second && l.good() {
		return r.second(l, nil)
	}
	return r.first(l)
}

// hedge starts the second attempt, if it is paid for and somebody is there to make it.
func (r *race) hedge() {
	x := r.x
	hedges := x.group.Cell.Hedges()
	if x.gone.Load() {
		return
	}
	if !hedges.Take() {
		x.g.meters.hedgesDenied.Inc()
		return
	}
	y := &exchange{g: x.g, rng: route.SeededRand(x.rng.Uint64())}
	y.state = x.state
	y.tried = append(append(y.tried, x.tried...), x.candidate.Account)
	// What belongs to the first attempt is not the second's.
	y.wire, y.wired, y.talk, y.flying, y.limit, y.affinity = nil, wiring{}, nil, false, nil, 0
	if !y.pick() || y.reason == route.Panicked {
		hedges.Return()
		x.g.meters.hedgesNobody.Inc()
		return
	}
	if f := y.send(); f != nil {
		y.dropWire()
		hedges.Return()
		x.g.meters.hedgesNobody.Inc()
		return
	}
	x.second.Store(&y.call)
	if x.gone.Load() || x.total.passed() {
		// Whoever wanted to end the request has not seen the second attempt.
		y.call.Abort()
	}
	r.y = y
	y.stepAt = x.beginStep(y.candidate.Account, pickedHedge)
	x.attempt++
	x.g.health.Count(health.Hedges, 1)
	r.fly(y, true)
}

// after is the second half of a race whose first attempt to land has failed.
func (r *race) after(bad landed) (*upstream.Response, error) {
	if bad.second {
		r.lose(bad)
		r.x.g.meters.hedgesFailed.Inc()
		l := r.land()
		r.x.now = r.x.g.now()
		return l.response, l.err
	}
	l := r.land()
	r.x.now = r.x.g.now()
	if l.good() {
		return r.second(l, &bad)
	}
	r.lose(l)
	r.x.g.meters.hedgesFailed.Inc()
	return bad.response, bad.err
}

// lose is a second attempt that failed: it has its consequences, and the request goes on with the first.
func (r *race) lose(l landed) {
	x, y := r.x, r.y
	y.now = x.g.now()
	y.gone.Store(x.gone.Load())
	var f *failure
	if l.err != nil {
		f = y.brokenBy(l.err)
	} else {
		y.response = l.response
		y.hears()
		f = y.refusedBy(l.response)
	}
	x.note(y.stepAt, f)
	y.landFailed(f, true)
	if !f.gone {
		y.countFailure(f)
	}
	r.dropSecond()
}

// first is the first attempt's end where that decides: the second, if it is still on its way, is not wanted any more.
func (r *race) first(l landed) (*upstream.Response, error) {
	x, y := r.x, r.y
	y.call.Abort()
	if other := r.land(); other.response != nil {
		_ = other.response.Close()
	}
	x.endStep(y.stepAt, verdictHedge, 0)
	r.dropSecond()
	x.g.meters.hedgesLost.Inc()
	return l.response, l.err
}

// dropSecond gives back what the second attempt took.
func (r *race) dropSecond() {
	x, y := r.x, r.y
	y.closeResponse()
	y.now = x.g.now()
	y.landLost()
	y.limit.off()
	y.dropWire()
	r.y = nil
}

// second makes the second attempt the request's own. first is what became of the first one, if that has failed already;
// else it is ended.
func (r *race) second(l landed, first *landed) (*upstream.Response, error) {
	x, y := r.x, r.y
	var f *failure
	switch {
	case first == nil:
		x.call.Abort()
		if other := r.land(); other.response != nil {
			_ = other.response.Close()
		}
		x.endStep(x.stepAt, verdictHedge, 0)
	case first.err != nil:
		f = x.brokenBy(first.err)
	default:
		x.response = first.response
		x.hears()
		f = x.refusedBy(first.response)
	}
	if f != nil {
		x.note(x.stepAt, f)
		x.landFailed(f, true)
		if !f.gone {
			x.countFailure(f)
		}
	}
	x.closeResponse()
	x.landLost() // if it has not landed yet: how slow it would have been nobody will know
	x.limit.off()
	x.dropWire()
	x.call.Reset()
	if x.gone.Load() {
		y.call.Abort() // who hung up may have met the call that was reset
	}
	x.tried = append(x.tried, x.candidate.Account)

	x.candidate, x.served, x.reason, x.stepAt = y.candidate, y.served, y.reason, y.stepAt
	x.flying, x.outcome = true, y.outcome
	x.plan, x.upStream, x.converted, x.retold, x.heard, x.talk = y.plan, y.upStream, y.converted, y.retold, y.heard, y.talk
	x.request, x.ask, x.credentials, x.secret, x.head = y.request, y.ask, y.credentials, y.secret, y.head
	x.wire, x.wired, x.limit, x.began = y.wire, y.wired, y.limit, y.began
	r.y = nil
	x.g.meters.hedgesWon.Inc()
	return l.response, nil
}

// dropWire gives back what was written for an upstream, once nothing sends it any more.
func (x *exchange) dropWire() {
	x.g.slabs.put(x.wire)
	x.wire, x.wired = nil, wiring{}
}
