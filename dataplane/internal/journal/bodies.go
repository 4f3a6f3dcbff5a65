package journal

import "sync/atomic"

// Room is where bodies may be kept, of all requests at once.
type Room struct {
	each, most int64
	held       atomic.Int64
	refused    atomic.Uint64
}

// NewRoom makes room for most bytes in all, and each of one body.
func NewRoom(each int, most int64) *Room { return &Room{each: int64(each), most: most} }

// Take makes room for a request's two bodies; nil = there is none left, or r is nil.
func (r *Room) Take() *Bodies {
	if r == nil {
		return nil
	}
	if r.held.Add(2*r.each) > r.most {
		r.held.Add(-2 * r.each)
		r.refused.Add(1)
		return nil
	}
	return &Bodies{room: r}
}

// Refused is how often there was no room.
func (r *Room) Refused() uint64 {
	if r == nil {
		return 0
	}
	return r.refused.Load()
}

// Bodies are the beginnings of a request's body and of its answer's. A nil one keeps nothing. It belongs to one goroutine at
// a time.
type Bodies struct {
	Request, Response       []byte
	RequestCut, ResponseCut bool // there was more

	room *Room
}

// AddRequest keeps what there is room for.
func (b *Bodies) AddRequest(p []byte) {
	if b != nil {
		b.Request, b.RequestCut = b.add(b.Request, p, b.RequestCut)
	}
}

// AddResponse keeps what there is room for.
func (b *Bodies) AddResponse(p []byte) {
	if b != nil {
		b.Response, b.ResponseCut = b.add(b.Response, p, b.ResponseCut)
	}
}

func (b *Bodies) add(to, p []byte, cut bool) ([]byte, bool) {
	room := int(b.room.each) - len(to)
	return append(to, p[:min(room, len(p))]...), cut || len(p) > room
}

// Release gives the room back; nothing may be added or read after that.
func (b *Bodies) Release() {
	if b != nil && b.room != nil {
		b.room.held.Add(-2 * b.room.each)
		b.room, b.Request, b.Response = nil, nil, nil
	}
}
