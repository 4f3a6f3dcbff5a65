package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"fairway/pkg/digest"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// What Receive refuses. After any of them the state is as it was, and the stream must be opened anew.
var (
	// ErrProtocol: the transaction does not fit what the proxy holds.
	ErrProtocol = errors.New("the transaction does not fit")
	// ErrDigest: the state that the transaction leads to is not the one that its sender has.
	ErrDigest = errors.New("the digest differs")
	// ErrStale: the transaction leads back in time: its sender lags behind what the proxy holds.
	ErrStale = errors.New("the control plane lags behind this proxy")
)

const (
	maxRejects = 1000 // in an Ack
	maxReason  = 1024 // bytes of a Reject's reason
	allBuckets = math.MaxUint64
)

// Replica is a proxy's copy of the state: raw, as digests need it, and compiled. Not safe for concurrent use; the
// snapshots and images that it gives out are.
type Replica struct {
	image    *Image
	snapshot *Snapshot
	linker   *linker
	pending  *pending
	compile  func(kind syncv1.Kind, id string, version int64, body []byte) (form, error)
}

// pending is a transaction whose last chunk is not in yet.
type pending struct {
	lineage        string
	base, revision int64
	replaced       uint64
	changes        []*syncv1.Change
}

// NewReplica returns a replica that holds nothing.
func NewReplica() *Replica {
	return &Replica{image: newImage(), snapshot: empty(), linker: newLinker(), compile: compile}
}

// Snapshot is the compiled state.
func (r *Replica) Snapshot() *Snapshot { return r.snapshot }

// Image is the raw state.
func (r *Replica) Image() *Image { return r.image }

// Hold fills in what the replica holds.
func (r *Replica) Hold(h *syncv1.Hello) {
	h.Lineage, h.Revision, h.BucketDigests = r.image.lineage, r.image.revision, nil
	if r.image.lineage != "" {
		h.BucketDigests = slices.Clone(r.image.sums[:])
	}
}

// Ack says what the replica holds, without the apply time.
func (r *Replica) Ack() *syncv1.Ack {
	return &syncv1.Ack{Revision: r.image.revision, Digest: r.image.sums.Root(), Rejects: r.image.rejects()}
}

// Abort forgets the chunks of a transaction that did not end.
func (r *Replica) Abort() { r.pending = nil }

// Progress notes that the state is that of revision too, and reports whether that is news.
func (r *Replica) Progress(revision int64) bool {
	if r.image.lineage == "" || revision <= r.image.revision {
		return false
	}
	im, s := *r.image, *r.snapshot
	im.revision, s.revision = revision, revision
	r.image, r.snapshot = &im, &s
	return true
}

// Receive takes the next chunk of a transaction. With the last one it applies the whole and returns true: Snapshot and
// Image are new. Resources that do not compile are quarantined; they are no error. On an error (ErrProtocol, ErrDigest,
// ErrStale) nothing has changed and the chunks are forgotten.
func (r *Replica) Receive(t *syncv1.Txn) (applied bool, err error) {
	p := r.pending
	r.pending = nil
	if p == nil {
		if p, err = r.begin(t); err != nil {
			return false, err
		}
	} else if t.GetLineage() != p.lineage || t.GetBaseRevision() != p.base || t.GetRevision() != p.revision {
		return false, fmt.Errorf("%w: revision %d began before revision %d ended", ErrProtocol, t.GetRevision(), p.revision)
	}
	p.replaced |= t.GetReplacedBuckets()
	p.changes = append(p.changes, t.GetChanges()...)
	if !t.GetLast() {
		r.pending = p
		return false, nil
	}
	if p.lineage != r.image.lineage && p.replaced != allBuckets {
		return false, fmt.Errorf("%w: another lineage needs a full state", ErrProtocol)
	}
	return true, r.apply(p, t.GetDigest())
}

// begin checks a transaction's first chunk against what is held.
func (r *Replica) begin(t *syncv1.Txn) (*pending, error) {
	held := r.image
	p := &pending{lineage: t.GetLineage(), base: t.GetBaseRevision(), revision: t.GetRevision()}
	switch {
	case p.lineage == "" || p.revision <= 0:
		return nil, fmt.Errorf("%w: it names no lineage or no revision", ErrProtocol)
	case p.lineage != held.lineage:
		if p.base != 0 {
			return nil, fmt.Errorf("%w: it starts from revision %d of another lineage", ErrProtocol, p.base)
		}
	case p.base != 0 && p.base != held.revision:
		return nil, fmt.Errorf("%w: it starts from revision %d, held is %d", ErrProtocol, p.base, held.revision)
	case p.revision < held.revision:
		return nil, fmt.Errorf("%w: it leads to revision %d, held is %d", ErrStale, p.revision, held.revision)
	}
	return p, nil
}

// apply makes the next image and snapshot, or leaves both as they are.
func (r *Replica) apply(p *pending, want uint64) error {
	next, changed := r.image.with(p)
	if got := next.sums.Root(); got != want {
		return fmt.Errorf("%w: %016x instead of %016x at revision %d", ErrDigest, got, want, p.revision)
	}
	deltas := make([]delta, 0, len(changed))
	records := make([]*change, 0, len(changed))
	for _, c := range changed {
		if c.new != nil {
			r.judge(c)
		}
		if d := c.delta(); d.old != d.new {
			deltas = append(deltas, d)
			records = append(records, c)
		}
	}
	snap := r.link(deltas, records)
	snap.lineage, snap.revision = p.lineage, p.revision

	next.sick = r.image.sick
	for i, c := range changed {
		was, is := c.old != nil && c.old.reason != "", c.new != nil && c.new.reason != ""
		if !was && !is {
			continue
		}
		next.quarantine(changed[i:])
		break
	}
	r.image, r.snapshot = next, snap
	return nil
}

// judge compiles a new record or, when it does not compile, quarantines it.
func (r *Replica) judge(c *change) {
	f, err := r.compile(c.ref.kind, c.ref.id, c.new.version, c.new.body)
	if err != nil {
		c.quarantine(err)
		return
	}
	c.new.good = f
}

// link makes the next snapshot. Should a resource that compiled still make that panic, the resources are linked one by
// one and the guilty ones quarantined: slow, but no single resource stops a proxy.
func (r *Replica) link(deltas []delta, changes []*change) *Snapshot {
	if s, err := r.tryLink(r.snapshot, deltas); err == nil {
		return s
	}
	s := r.snapshot
	for i := range deltas {
		next, err := r.tryLink(s, deltas[i:i+1])
		if err == nil {
			s = next
			continue
		}
		if c := changes[i]; c.new != nil {
			c.quarantine(err)
		}
	}
	same := *s // never change what is current
	return &same
}

func (r *Replica) tryLink(prev *Snapshot, deltas []delta) (s *Snapshot, err error) {
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, panicked(p)
		}
	}()
	return r.linker.link(prev, deltas), nil
}

// change is one resource before and after a transaction; nil = none.
type change struct {
	ref      ref
	old, new *record
}

func (c *change) delta() delta {
	var d delta
	if c.old != nil {
		d.old = c.old.good
	}
	if c.new != nil {
		d.new = c.new.good
	}
	return d
}

// quarantine keeps the last good form in the place of the new one.
func (c *change) quarantine(err error) {
	c.new.reason = reasonOf(err)
	c.new.good, c.new.last = nil, nil
	if c.old == nil || c.old.good == nil {
		return
	}
	c.new.good = c.old.good
	if c.new.last = c.old.last; c.new.last == nil {
		c.new.last = &good{version: c.old.version, body: c.old.body}
	}
}

func reasonOf(err error) string {
	text := err.Error()
	return strings.ToValidUTF8(text[:min(len(text), maxReason)], "")
}

// with returns the image after a transaction, and what changed. Records that stay the same are shared.
func (im *Image) with(p *pending) (*Image, []*change) {
	base := im
	next := *im
	next.lineage, next.revision = p.lineage, p.revision

	var byBucket [digest.Buckets][]*syncv1.Change
	for _, c := range p.changes {
		b := digest.Bucket(int32(c.GetKind()), c.GetId())
		byBucket[b] = append(byBucket[b], c)
	}
	var changed []*change
	for b := range next.buckets {
		replaced := p.replaced&(1<<b) != 0
		if !replaced && len(byBucket[b]) == 0 {
			continue
		}
		old := &base.buckets[b]
		e := old.edit()
		if replaced {
			fresh := newTable[ref, *record](old.hash)
			e = fresh.edit()
			next.sums[b] = 0
		}
		touched := make(map[ref]struct{}, len(byBucket[b]))
		for _, c := range byBucket[b] {
			id := ref{kind: c.GetKind(), id: c.GetId()}
			touched[id] = struct{}{}
			if was, ok := e.get(id); ok {
				next.sums.Remove(int32(id.kind), id.id, was.version, was.body)
				e.delete(id)
			}
			if c.GetDeleted() {
				continue
			}
			rec, ok := old.get(id)
			if !ok || rec.version != c.GetVersion() || !bytes.Equal(rec.body, c.GetBody()) {
				rec = &record{version: c.GetVersion(), body: c.GetBody()}
			}
			e.set(id, rec)
			next.sums.Add(int32(id.kind), id.id, rec.version, rec.body)
		}
		next.buckets[b] = e.done()
		for id := range touched {
			was, _ := old.get(id)
			now, _ := next.buckets[b].get(id)
			if was != now {
				changed = append(changed, &change{ref: id, old: was, new: now})
			}
		}
		if !replaced {
			continue
		}
		for id, was := range old.all() {
			if _, ok := touched[id]; !ok {
				changed = append(changed, &change{ref: id, old: was})
			}
		}
	}
	slices.SortFunc(changed, func(a, b *change) int { return compareRefs(a.ref, b.ref) })
	return &next, changed
}

// quarantine brings the list of the quarantined up to date.
func (im *Image) quarantine(changed []*change) {
	sick := make(map[ref]*record, len(im.sick)+1)
	for id, rec := range im.sick {
		sick[id] = rec
	}
	for _, c := range changed {
		delete(sick, c.ref)
		if c.new != nil && c.new.reason != "" {
			sick[c.ref] = c.new
		}
	}
	im.sick = sick
}
