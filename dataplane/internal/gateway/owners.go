package gateway

import (
	"hash/maphash"
	"strings"
	"sync"

	"fairway/dataplane/internal/snapshot"
)

// mostOwned is how many things' owners a proxy remembers.
const mostOwned = 64 << 10

// owner says which account holds something (a response, a batch), and which key made it.
type owner struct {
	account snapshot.AccountID
	key     snapshot.KeyID
}

// owners remember where things are that one account holds, by their ids, the latest ones. It saves the search: a proxy that
// does not know, because another one made the thing, asks around. The zero value is ready.
type owners struct {
	mu   sync.Mutex
	seed maphash.Seed
	byID map[uint64]owner
	ring []uint64
	next int
}

// put remembers who holds id.
func (o *owners) put(id string, w owner) {
	if id == "" {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.byID == nil {
		o.byID, o.seed = make(map[uint64]owner), maphash.MakeSeed()
	}
	h := maphash.String(o.seed, id)
	if _, ok := o.byID[h]; !ok {
		if len(o.ring) < mostOwned {
			o.ring = append(o.ring, h)
		} else {
			delete(o.byID, o.ring[o.next])
			o.ring[o.next] = h
			o.next = (o.next + 1) % mostOwned
		}
	}
	o.byID[h] = owner{account: snapshot.AccountID(strings.Clone(string(w.account))), key: w.key}
}

func (o *owners) get(id string) (owner, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.byID == nil {
		return owner{}, false
	}
	w, ok := o.byID[maphash.String(o.seed, id)]
	return w, ok
}
