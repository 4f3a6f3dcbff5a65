package gateway

import (
	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect/responses"
	"fairway/dataplane/internal/snapshot"
	"fairway/pkg/fault"
	"fairway/pkg/operation"
	"fairway/pkg/sse"
)

// follows finds out whether a request goes on from a response that one account holds. If the proxy knows which, that one
// alone is asked; otherwise one after the other, until one has it.
func (x *exchange) follows() *fault.Error {
	if x.op != operation.Responses {
		return nil
	}
	id, ok := responses.Pins(x.body.b)
	if !ok {
		return nil
	}
	w, known := x.g.owners.get(id)
	if known && w.key != x.key.ID {
		return fault.New(fault.NotFound, "Previous response with id '%s' not found.", clip(id, 128)).
			WithCode(codeNoPrevious).WithParam("previous_response_id").WithStatus(400)
	}
	if known {
		x.pinned = x.member(w.account)
	}
	x.searching = x.pinned == nil
	return nil
}

// codeNoPrevious is OpenAI's code for a response that the account does not have.
const codeNoPrevious = "previous_response_not_found"

// member finds an account in the pool; nil if it is not there (any more).
func (x *exchange) member(id snapshot.AccountID) *snapshot.Account {
	c := x.pool.Find(id)
	if c == nil {
		return nil
	}
	return c.Account
}

// elsewhere says whether a failure only means that another account holds what the request goes on from.
func (x *exchange) elsewhere(f *failure) bool {
	return x.searching && f.said.Code == codeNoPrevious && len(x.tried) < mostAsked
}

// own remembers who holds what was just made.
func (x *exchange) own() {
	if x.converted {
		return
	}
	var id string
	switch x.op {
	case operation.Responses:
		made := x.first.b
		if x.sse {
			made = sse.Data(made)
		}
		id = responses.ID(made)
	case operation.Batches:
		id = gjson.GetBytes(x.first.b, "id").String()
	default:
		return
	}
	x.g.owners.put(id, owner{account: x.served.ID, key: x.key.ID})
}
