package publish

import (
	"time"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// maxOutstanding is for how many messages without an Ack the expected digests are remembered; beyond it the oldest
// cannot be verified any more.
const maxOutstanding = 4096

// sent is a message that a proxy has yet to acknowledge.
type sent struct {
	revision int64
	root     uint64 // digest that the Ack should carry
	at       time.Time
	observed time.Time // when the oldest change in it came in; zero when that is unknown
	txn      bool      // a Txn, not a Progress
	void     bool      // sent before a resend: its digest does not count any more
}

// verdict is what an Ack means.
type verdict int

const (
	// ackIgnored: of nothing that was sent.
	ackIgnored verdict = iota
	// ackApplied: the proxy holds what it should.
	ackApplied
	// ackDiffers: the proxy holds something else.
	ackDiffers
)

// outstanding matches Acks with what was sent, in order. It is not safe for concurrent use.
type outstanding struct {
	queue   []sent
	dropped bool // whether something was forgotten
}

func (o *outstanding) add(s sent) {
	if len(o.queue) == maxOutstanding {
		o.queue = append(o.queue[:0], o.queue[1:]...)
		o.dropped = true
	}
	o.queue = append(o.queue, s)
}

// void makes all that is under way count no more.
func (o *outstanding) void() {
	for i := range o.queue {
		o.queue[i].void = true
	}
}

// ack matches an Ack. The returned message is the last one that it acknowledges, valid with ackApplied only.
func (o *outstanding) ack(a *syncv1.Ack) (sent, verdict) {
	first, last := -1, -1
	for i, s := range o.queue {
		if s.revision == a.GetRevision() {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	if first < 0 {
		return sent{}, ackIgnored
	}
	s := o.queue[last]
	if a.GetDigest() == s.root {
		// Whatever came before is in it, also when the proxy did not acknowledge each.
		o.queue = append(o.queue[:0], o.queue[last+1:]...)
		return s, ackApplied
	}
	s = o.queue[first]
	o.queue = append(o.queue[:0], o.queue[first+1:]...)
	if s.void {
		return s, ackIgnored
	}
	return s, ackDiffers
}
