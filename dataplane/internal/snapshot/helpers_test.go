package snapshot

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"unique"

	"google.golang.org/protobuf/proto"

	"fairway/pkg/clientkey"
	"fairway/pkg/digest"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

const (
	channelKind  = syncv1.Kind_KIND_CHANNEL
	accountKind  = syncv1.Kind_KIND_ACCOUNT
	groupKind    = syncv1.Kind_KIND_GROUP
	keyKind      = syncv1.Kind_KIND_KEY
	modelKind    = syncv1.Kind_KIND_MODEL
	settingsKind = syncv1.Kind_KIND_SETTINGS
	tenantKind   = syncv1.Kind_KIND_TENANT
)

// poison is a body that is no message of any kind.
var poison = []byte{0xff, 0xff, 0xff}

func body(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func put(t testing.TB, kind syncv1.Kind, id string, version int64, m proto.Message) *syncv1.Change {
	t.Helper()
	return &syncv1.Change{Kind: kind, Id: id, Version: version, Body: body(t, m)}
}

func gone(kind syncv1.Kind, id string) *syncv1.Change {
	return &syncv1.Change{Kind: kind, Id: id, Deleted: true}
}

func macOf(n int) clientkey.MAC {
	var mac clientkey.MAC
	for i := range 4 {
		mac[i] = byte(n >> (8 * i))
	}
	mac[31] = 1
	return mac
}

// source is the control plane's side of the state.
type source struct {
	lineage  string
	revision int64
	items    map[ref]*syncv1.Change
}

func newSource(lineage string) *source {
	return &source{lineage: lineage, items: make(map[ref]*syncv1.Change)}
}

func (s *source) apply(changes ...*syncv1.Change) {
	s.revision++
	for _, c := range changes {
		id := ref{kind: c.GetKind(), id: c.GetId()}
		if c.GetDeleted() {
			delete(s.items, id)
		} else {
			s.items[id] = c
		}
	}
}

func (s *source) sums() *digest.Sums {
	var sums digest.Sums
	for id, c := range s.items {
		sums.Add(int32(id.kind), id.id, c.GetVersion(), c.GetBody())
	}
	return &sums
}

// delta is the transaction of changes that were just applied.
func (s *source) delta(base int64, changes ...*syncv1.Change) *syncv1.Txn {
	return &syncv1.Txn{
		Lineage: s.lineage, BaseRevision: base, Revision: s.revision, Changes: changes, Last: true, Digest: s.sums().Root(),
	}
}

// buckets is the transaction that replaces those of mask.
func (s *source) buckets(base int64, mask uint64) *syncv1.Txn {
	t := s.delta(base)
	t.ReplacedBuckets = mask
	for id, c := range s.items {
		if mask&(1<<digest.Bucket(int32(id.kind), id.id)) != 0 {
			t.Changes = append(t.Changes, c)
		}
	}
	return t
}

func (s *source) full() *syncv1.Txn { return s.buckets(0, math.MaxUint64) }

// cut makes chunks of n changes out of a transaction.
func cut(t *syncv1.Txn, n int) []*syncv1.Txn {
	var chunks []*syncv1.Txn
	for changes := t.GetChanges(); ; changes = changes[n:] {
		c := &syncv1.Txn{
			Lineage: t.GetLineage(), BaseRevision: t.GetBaseRevision(), Revision: t.GetRevision(), ReplacedBuckets: t.GetReplacedBuckets(),
			Changes: changes[:min(n, len(changes))],
		}
		chunks = append(chunks, c)
		if len(changes) <= n {
			c.Last, c.Digest = true, t.GetDigest()
			return chunks
		}
	}
}

func receive(t testing.TB, r *Replica, chunks ...*syncv1.Txn) {
	t.Helper()
	for i, c := range chunks {
		applied, err := r.Receive(c)
		if err != nil {
			t.Fatalf("chunk %d: %v", i, err)
		}
		if applied != c.GetLast() {
			t.Fatalf("chunk %d: applied = %v, last = %v", i, applied, c.GetLast())
		}
	}
}

// small is a state with two channels in one group, three accounts, a tenant and one that it is a part of, a key without and one
// with rules, and a price.
func small(t testing.TB) *source {
	t.Helper()
	s := newSource("L1")
	s.apply(
		put(t, settingsKind, "settings", 1, &syncv1.SettingsState{Pepper: []byte("pepper"), MaxAttempts: 4}),
		put(t, groupKind, "g1", 1, &syncv1.GroupState{Name: "default", Limits: &syncv1.LimitsState{Concurrency: 100}}),
		put(t, channelKind, "c1", 1, &syncv1.ChannelState{Provider: 1,
			Name: "one", BaseUrl: "https://api.example.com/v1x", Models: []string{"m1", "m2"}, GroupIds: []string{"g1"}, Priority: 10,
		}),
		put(t, channelKind, "c2", 1, &syncv1.ChannelState{Provider: 1,
			Name: "two", BaseUrl: "http://two.example.com:8080", Models: []string{"m1"}, GroupIds: []string{"g1"}, Priority: 5,
			ModelMapping: map[string]string{"m1": "up-1"},
		}),
		put(t, accountKind, "a1", 1, &syncv1.AccountState{Name: "a1", ChannelId: "c1", Secret: "s1"}),
		put(t, accountKind, "a2", 1, &syncv1.AccountState{Name: "a2", ChannelId: "c1", Secret: "s2", Weight: 300}),
		put(t, accountKind, "a3", 1, &syncv1.AccountState{Name: "a3", ChannelId: "c2", Secret: "s3"}),
		put(t, keyKind, "k1", 1, keyState(1)),
		put(t, tenantKind, "t0", 3, &syncv1.TenantState{Name: "team", Limits: &syncv1.LimitsState{Rpm: 60, Fallback: 2}}),
		put(t, tenantKind, "t1", 4, &syncv1.TenantState{Name: "person", ParentId: "t0", Disabled: true}),
		put(t, keyKind, "k2", 5, ruledState(2)),
		put(t, modelKind, "p1", 7, &syncv1.ModelState{Name: "m1", Priced: true, Input: 10, CachedInput: 5, Output: 20}),
	)
	return s
}

func keyState(n int) *syncv1.KeyState {
	mac := macOf(n)
	return &syncv1.KeyState{Name: fmt.Sprint("key-", n), GroupId: "g1", Mac: mac[:]}
}

// ruledState is a key with one of each rule.
func ruledState(n int) *syncv1.KeyState {
	st := keyState(n)
	st.TenantId, st.Models, st.DeniedModels, st.Clients = "t1", []string{"m*"}, []string{"m2"}, []string{"curl/"}
	st.AccountIds, st.AllowedIps = []string{"a2", "a3"}, []string{"10.0.0.0/8"}
	st.Limits = &syncv1.LimitsState{Budgets: []*syncv1.BudgetState{{AmountNanoUsd: 1e9, Window: 1}}, Fallback: 1}
	return st
}

// dump writes everything that a snapshot answers, in one order.
func dump(s *Snapshot) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s@%d %+v hasher=%v\n", s.lineage, s.revision, s.settings, s.hasher != nil)
	section := func(lines []string) {
		slices.Sort(lines)
		b.WriteString(strings.Join(lines, ""))
	}
	var lines []string
	for k := range s.keys.all() {
		var rules keyRules
		if k.rules != nil {
			rules = *k.rules
		}
		limits := fmt.Sprintf("%+v", rules.limits)
		rules.limits, rules.names = nil, unique.Handle[string]{} // pointers, as far as %v can tell
		lines = append(lines, fmt.Sprintf("key %x %s %s %s %s %d %v %+v %s\n",
			k.mac[:4], k.ID, k.Name, k.TenantID, k.GroupID, k.ExpireMS, k.Disabled, rules, limits))
	}
	section(lines)
	lines = nil
	for id, x := range s.tenants.all() {
		lines = append(lines, fmt.Sprintf("tenant %s %s %v %s %+v\n", id, x.Name, x.Disabled, x.ParentID, x.Limits))
	}
	section(lines)
	lines = nil
	for name, m := range s.models.all() {
		lines = append(lines, fmt.Sprintf("model %s %+v\n", name, *m))
	}
	section(lines)
	lines = nil
	for m, n := range s.listed.all() {
		lines = append(lines, fmt.Sprintf("listed %s %d\n", m, n))
	}
	section(lines)
	lines = nil
	for id, home := range s.homes.all() {
		lines = append(lines, fmt.Sprintf("account %s of %s\n", id, home))
	}
	section(lines)
	lines = nil
	for id, u := range s.units.all() {
		line := fmt.Sprintf("unit %s channel=%v roster=%v", id, u.channel != nil, u.roster != nil)
		if u.channel != nil {
			c := *u.channel
			adapted := c.Adapter != nil
			c.Adapter = nil // what it was made of is in the rest
			line += fmt.Sprintf(" %+v adapted=%v", c, adapted)
		}
		for _, a := range u.accounts {
			line += fmt.Sprintf(" [%s %s %s %d %v %v cell=%v linked=%v]", a.ID, a.Name, a.Secret.Reveal(), a.Weight, a.Disabled,
				a.ProxyURL, a.Cell != nil, a.Channel == u.channel)
		}
		lines = append(lines, line+"\n")
	}
	section(lines)
	lines = nil
	for id, g := range s.groups.all() {
		lines = append(lines, fmt.Sprintf("group %s %s %d %d cell=%v models=%v %+v\n",
			id, g.Name, g.PriceRatio, g.Strategy, g.Cell != nil, s.Models(g), g.Limits))
		if g.routes == nil {
			continue
		}
		for m := range g.routes.table.all() {
			p, ok := s.Pool(g, m)
			line := fmt.Sprintf("pool %s %s %v", id, m, ok)
			if ok {
				line += poolText(p)
			}
			lines = append(lines, line+"\n")
			for k := range s.keys.all() {
				if part := boundIn(s, p, k); part != p {
					lines = append(lines, fmt.Sprintf("bound %s %s %s %s\n", k.ID, id, m, poolText(part)))
				}
			}
		}
	}
	section(lines)
	return b.String()
}

// laneFits reports whether a lane holds the candidate of a roster of one, and none of a bigger one.
func laneFits(l lane, r *Roster) bool {
	if len(r.Candidates) > 1 {
		return l.only == nil && l.sole == nil
	}
	return l.sole == &r.Candidates[0] && l.only == l.sole.Cell
}

// boundIn is the key's part of a pool; p may be nil.
func boundIn(s *Snapshot, p *Pool, k *Key) *Pool {
	if p == nil {
		return nil
	}
	return s.Bound(p, k)
}

func poolText(p *Pool) string {
	var b strings.Builder
	if p == nil {
		return " nobody"
	}
	for _, t := range p.Tiers {
		fmt.Fprintf(&b, " tier %d size %d:", t.Priority, t.Size)
		for i, r := range t.Rosters {
			l := t.lanes[i]
			fmt.Fprintf(&b, " %s*%d %v %v{", r.Channel.ID, r.Channel.Weight, l.slot, laneFits(l, r))
			for i, c := range r.Candidates {
				cells := []*Cell{c.Account.Cell, r.seats[i].cell, cmp.Or(l.only, c.Cell)}
				one := !slices.ContainsFunc(cells, func(cell *Cell) bool { return cell != c.Cell })
				fmt.Fprintf(&b, "%s*%d/%g,%v,%v ", c.Account.ID, c.Weight, c.Scale, r.seats[i].slot, one && c.Account.Channel == r.Channel)
			}
			b.WriteString("}")
		}
	}
	return b.String()
}
