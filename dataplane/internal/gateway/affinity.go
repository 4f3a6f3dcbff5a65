package gateway

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/route"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/operation"
)

// mostOpening is how much of each part of a conversation's beginning tells it from others, in bytes.
const mostOpening = 4 << 10

// session is what names the conversation that a request belongs to; nil = nothing does. The client's own name for it wins:
// a cache key in the body, a header; else it is what the conversation begins with, which stays while it goes on. room is
// for the result.
func (x *exchange) session(room *[24]byte) []byte {
	o := &x.peek.Opening
	if key := x.part(o.CacheKey); len(key) > 2 && key[0] == '"' {
		return key
	}
	for _, name := range [...]string{"x-session-id", "x-claude-code-session-id"} {
		if id := x.in.Get(name); len(id) > 0 {
			return id
		}
	}
	if !o.First.Present() {
		return nil
	}
	for i, s := range [...]dialect.Span{o.System, o.Lead, o.First} {
		b := x.part(s)
		binary.LittleEndian.PutUint64(room[8*i:], xxhash.Sum64(b[:min(len(b), mostOpening)]))
	}
	return room[:]
}

// belongs finds out to which conversation the request belongs, where its group keeps those together.
func (x *exchange) belongs() {
	switch resourcev1.Affinity(x.group.Affinity) {
	case resourcev1.Affinity_AFFINITY_ON, resourcev1.Affinity_AFFINITY_HARD:
	default:
		return
	}
	if !x.converses() || x.pinned != nil || x.searching {
		return
	}
	var room [24]byte
	if session := x.session(&room); session != nil {
		x.affinity = route.Affinity(x.key.ID, x.model, session)
	}
}

// part is a range of the body.
func (x *exchange) part(s dialect.Span) []byte {
	if !s.Present() || x.body == nil || s.End > len(x.body.b) {
		return nil
	}
	return x.body.b[s.Start:s.End]
}

// converses says whether the operation goes on with a conversation, of which a provider may have a part in its cache.
func (x *exchange) converses() bool {
	return x.op.Facts().Talk || x.op == operation.Realtime
}
