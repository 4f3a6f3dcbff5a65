package gateway

import (
	"bytes"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/route"
	"fairway/dataplane/internal/snapshot"
	"fairway/pkg/fault"
	"fairway/pkg/operation"
)

// mostAsked is how many accounts are asked for something whose owner this proxy does not know. Each question is one small
// request, and costs no tokens.
const mostAsked = 32

// relayPinned is the walk of a request for something that one account holds: to that account if the proxy knows it, else to
// one after the other of those that may serve the key, until one has it.
func (x *exchange) relayPinned() *fault.Error {
	if f := x.admit(); f != nil {
		return f
	}
	id := x.target.ID
	known, ok := x.g.owners.get(id)
	if ok && known.key != x.key.ID {
		return x.nothingThere()
	}
	if f := x.readPinnedBody(); f != nil {
		return f
	}
	x.peek.Stream = x.op == operation.Response && streamAsked(x.target.Query)
	if f := x.admitStream(); f != nil {
		return f
	}
	holders := x.holders(known.account)
	if len(holders) == 0 {
		return x.nothingThere()
	}
	x.choosing = true
	x.opens()
	x.watch()
	if f := x.reserve(); f != nil {
		return f
	}
	for i := range holders {
		if x.gone.Load() {
			return x.clientLeft()
		}
		x.candidate, x.reason = holders[i], route.Chosen
		if x.outOfTime() {
			return x.tooLate()
		}
		x.attempt++
		x.stepAt = x.beginStep(x.candidate.Account, pickedOwner)
		f := x.try()
		x.note(x.stepAt, f)
		if f == nil {
			x.g.owners.put(id, owner{account: x.served.ID, key: x.key.ID})
			return x.answer()
		}
		x.closeResponse()
		x.landFailed(f, f.status != 404 && ok)
		x.endLimit()
		if f.gone {
			return x.clientLeft()
		}
		if x.last.answer == nil || f.status != 404 {
			x.last = *f
		}
		if f.status != 404 && ok {
			x.countFailure(f)
			break
		}
		x.now = x.g.now()
	}
	if x.last.status == 404 {
		return x.nothingThere()
	}
	return x.exhausted()
}

// readPinnedBody reads what should not be there: OpenAI's Go client asks for a stream in the body of its GET. It becomes the
// query that it is documented to be; nothing else of a body matters here, and none goes upstream.
func (x *exchange) readPinnedBody() *fault.Error {
	const most = 64 << 10
	n := x.in.ContentLength()
	switch {
	case n == 0:
		return nil
	case n < 0 || n > most:
		return fault.New(fault.Invalid, "this operation has no body").WithCode("unexpected_body")
	}
	if f := x.readBody(); f != nil {
		return f
	}
	if x.op == operation.Response && gjson.GetBytes(x.body.b, "stream").Bool() && !streamAsked(x.target.Query) {
		query := append([]byte("stream=true"), '&')
		x.target.Query = bytes.TrimSuffix(append(query, x.target.Query...), []byte{'&'})
	}
	x.dropBody()
	return nil
}

// nothingThere is the answer where nobody has what the client asks for, or somebody else made it.
func (x *exchange) nothingThere() *fault.Error {
	x.failed = false
	return fault.New(fault.NotFound, "nothing has the id %q", clip(x.target.ID, 128)).WithCode("not_found")
}

// holders are the accounts that may hold what the request names: the owner alone, where it is known and still there.
func (x *exchange) holders(known snapshot.AccountID) []*snapshot.Candidate {
	var all []*snapshot.Candidate
	for a := range x.snap.ServingTo(x.key) {
		ch := a.Channel
		if !ch.In(x.group.ID) {
			continue
		}
		if op, ok := ch.Adapter.Plan(x.op, ""); !ok || op != x.op {
			continue
		}
		c := &snapshot.Candidate{Account: a, Cell: a.Cell, Scale: 1, Weight: a.Weight}
		if a.ID == known {
			return []*snapshot.Candidate{c}
		}
		if len(all) < mostAsked {
			all = append(all, c)
		}
	}
	return all
}

// pickPinned chooses the one account that holds what the request goes on from, once.
func (x *exchange) pickPinned() bool {
	if x.attempt > 0 {
		return false
	}
	c := x.pool.Find(x.pinned.ID)
	if c == nil {
		return false
	}
	x.candidate, x.reason = c, route.Chosen
	return true
}

func streamAsked(query []byte) bool { return hasPair(query, "stream=true") }
