package bank

import (
	"cmp"
	"slices"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// Note is what a boot is to be told without asking.
type Note struct {
	Boot     string
	Response *syncv1.LeaseResponse
}

// Tick ends what is over, and returns what boots are to be told now. It is to be called several times a second.
func (b *Bank) Tick(now Moment) []Note {
	b.tell(now)
	for _, s := range b.sessions {
		b.age(s)
	}
	b.sweep()
	return b.Notes(now)
}

// Notes returns what boots are to be told now, without asking. Called after each Handle it lets credits move between boots
// as fast as messages do; otherwise they wait for the next Tick. A note that cannot be delivered may be dropped: what it
// says comes again with the answer to the next declaration.
func (b *Bank) Notes(now Moment) []Note {
	b.tell(now)
	var notes []Note
	for _, s := range b.sessions {
		// While a boot declares, what it will say of its grants is not known: anything told now might count twice.
		if len(s.news) == 0 || s.stale || s.inside {
			continue
		}
		if grants := b.news(s); len(grants) > 0 {
			notes = append(notes, Note{Boot: s.boot, Response: &syncv1.LeaseResponse{
				Term: b.o.Term, Sequence: s.sequence, Proxies: b.proxies(), Grants: grants,
			}})
		}
	}
	slices.SortFunc(notes, func(x, y Note) int { return cmp.Compare(x.Boot, y.Boot) })
	return notes
}

// age ends the leases of a boot that was silent for too long.
func (b *Bank) age(s *session) {
	silence := b.clock.mono - s.heard
	if silence > b.o.TTL+b.o.Margin {
		b.mute(s)
	}
	if silence <= b.o.BookedTTL+b.o.Margin {
		return
	}
	for _, l := range s.leases {
		l.end()
	}
	if s.silent {
		b.silent--
	}
	delete(b.sessions, s.boot)
}

// Split makes messages of at most n grants out of one. A boot takes each of them as an answer to the same request.
func Split(r *syncv1.LeaseResponse, n int) []*syncv1.LeaseResponse {
	if n <= 0 || len(r.GetGrants()) <= n {
		return []*syncv1.LeaseResponse{r}
	}
	var pieces []*syncv1.LeaseResponse
	for grants := range slices.Chunk(r.GetGrants(), n) {
		pieces = append(pieces, &syncv1.LeaseResponse{
			Term: r.GetTerm(), Sequence: r.GetSequence(), Declare: r.GetDeclare(), Ttl: r.GetTtl(), BookedTtl: r.GetBookedTtl(),
			Proxies: r.GetProxies(), Grants: grants,
		})
	}
	return pieces
}

// mute takes the boot for one that spends nothing any more but what is on the books: its slots are free. What it used of
// minutes stays used.
func (b *Bank) mute(s *session) {
	if s.silent {
		return
	}
	s.silent, s.stale = true, true
	b.news(s)
	b.silent++
	for _, l := range s.leases {
		if l.book.id.slots() {
			l.end()
		}
	}
}

// leave closes the leases of a boot that said that it ends: nothing that it held will be used.
func (b *Bank) leave(s *session) {
	b.mute(s)
	s.gone = true
	for _, l := range s.leases {
		l.returned = max(l.returned, l.granted-min(l.granted, l.used))
		l.want, l.keep = 0, all
		if !l.book.id.Booked() {
			l.end()
		}
	}
}

// Gone tells that a boot's process has ended for certain. Its slots are free at once. What it held of other limits stays
// as it is until its time is over: nobody knows what it used of them last.
func (b *Bank) Gone(boot string, now Moment) {
	b.tell(now)
	if s := b.sessions[boot]; s != nil {
		b.mute(s)
		s.gone = true
	}
}
