package health

import (
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/snapshot"
	"fairway/pkg/digest"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// begin is when the tests' clock starts: a moment without a monotonic reading.
var begin = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)

const model = "claude-3-5-sonnet-20241022"

// world is a proxy's state, and the keeper of its accounts.
type world struct {
	t        testing.TB
	holder   *snapshot.Holder
	replica  *snapshot.Replica
	k        *Keeper
	now      time.Time
	revision int64
	items    map[string]*syncv1.Change
}

// newWorld has one channel, "c", of provider 1, with the accounts of which accounts are the ids.
func newWorld(t testing.TB, o Options, accounts ...string) *world {
	t.Helper()
	w := &world{t: t, holder: snapshot.NewHolder(), replica: snapshot.NewReplica(), now: begin, items: map[string]*syncv1.Change{}}
	if o.Now == nil {
		o.Now = func() time.Time { return w.now }
	}
	if o.BootID == "" {
		o.BootID = "me"
	}
	w.k = New(w.holder, o)
	w.channel("c", nil)
	for _, id := range accounts {
		w.account(id, nil)
	}
	w.put(syncv1.Kind_KIND_GROUP, "g", &syncv1.GroupState{Name: "g", Strategy: 1, PriceRatioPpm: 1_000_000})
	w.publish()
	return w
}

func (w *world) channel(id string, change func(*syncv1.ChannelState)) {
	w.t.Helper()
	s := &syncv1.ChannelState{
		Name: id, Provider: 1, BaseUrl: "https://" + id + ".example", Models: []string{model, "other"}, GroupIds: []string{"g"},
		Weight: 100, PriceRatioPpm: 1_000_000,
	}
	if change != nil {
		change(s)
	}
	w.put(syncv1.Kind_KIND_CHANNEL, id, s)
}

func (w *world) account(id string, change func(*syncv1.AccountState)) {
	w.t.Helper()
	s := &syncv1.AccountState{Name: id, ChannelId: "c", Secret: "sk-" + id, Weight: 100}
	if change != nil {
		change(s)
	}
	w.put(syncv1.Kind_KIND_ACCOUNT, id, s)
}

func (w *world) put(kind syncv1.Kind, id string, m proto.Message) {
	w.t.Helper()
	body, err := proto.Marshal(m)
	if err != nil {
		w.t.Fatal(err)
	}
	w.items[fmt.Sprint(kind, id)] = &syncv1.Change{Kind: kind, Id: id, Version: w.revision + 1, Body: body}
}

func (w *world) publish() {
	w.t.Helper()
	w.revision++
	txn := &syncv1.Txn{Lineage: "L", Revision: w.revision, ReplacedBuckets: ^uint64(0), Last: true}
	var sums digest.Sums
	for _, c := range w.items {
		txn.Changes = append(txn.Changes, c)
		sums.Add(int32(c.GetKind()), c.GetId(), c.GetVersion(), c.GetBody())
	}
	txn.Digest = sums.Root()
	if _, err := w.replica.Receive(txn); err != nil {
		w.t.Fatal(err)
	}
	if rejects := w.replica.Ack().GetRejects(); len(rejects) > 0 {
		w.t.Fatalf("rejected: %v", rejects)
	}
	w.holder.Publish(w.replica.Snapshot(), w.now)
}

func (w *world) pool() *snapshot.Pool {
	w.t.Helper()
	s := w.holder.Current()
	g, _ := s.Group("g")
	p, ok := s.Pool(g, model)
	if !ok {
		w.t.Fatal("no pool")
	}
	return p
}

func (w *world) candidate(id string) *snapshot.Candidate {
	w.t.Helper()
	p := w.pool()
	for i := range p.Tiers {
		for _, r := range p.Tiers[i].Rosters {
			for j := range r.Candidates {
				if c := &r.Candidates[j]; string(c.Account.ID) == id {
					return c
				}
			}
		}
	}
	w.t.Fatalf("no account %q", id)
	return nil
}

func (w *world) pass(d time.Duration) { w.now = w.now.Add(d) }

// tick passes time in steps as Run does.
func (w *world) tick(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); {
		w.pass(tickEvery)
		w.k.Tick(w.now)
	}
}

// outcome makes one attempt.
func (w *world) outcome(id string, change func(*Outcome)) {
	w.t.Helper()
	c := w.candidate(id)
	w.k.Began(c, w.now.UnixMilli())
	o := &Outcome{Candidate: c, Model: model, Now: w.now}
	if change != nil {
		change(o)
	}
	w.k.Ended(o)
}

func (w *world) ok(id string) { w.outcome(id, nil) }

func (w *world) fail(id string, v dialect.Verdict, asked time.Duration) {
	w.t.Helper()
	w.outcome(id, func(o *Outcome) { o.Verdict, o.Asked = &v, asked })
}

func classify(status int, code string) dialect.Verdict {
	return dialect.Classify(&dialect.UpstreamError{Status: status, Code: code})
}

// cooling and held are how long the account's cell rests from now.
func (w *world) cooling(id string) time.Duration {
	return left(w.candidate(id).Cell.CooldownUntil.Load(), w.now)
}

func (w *world) held(id string) time.Duration {
	return left(w.candidate(id).Cell.HeldUntil.Load(), w.now)
}

func left(untilMS int64, now time.Time) time.Duration {
	return max(time.Duration(untilMS-now.UnixMilli())*time.Millisecond, 0)
}

func (w *world) refuses(id string) Refusal {
	return w.k.Refuses(w.candidate(id).Account, model, w.now.UnixMilli())
}

// delta is what the next report says of one account; nil = nothing.
func (w *world) delta(id string) *syncv1.AccountDelta {
	for _, d := range w.k.Report(w.now).GetAccounts() {
		if d.GetAccountId() == id {
			return d
		}
	}
	return nil
}

func (w *world) facts(facts ...*syncv1.AccountFacts) {
	w.revision++
	w.k.Apply(&syncv1.HealthUpdate{Term: "t", Revision: uint64(w.revision), Accounts: facts}, w.now)
}

func (w *world) proxies(ids ...string) {
	w.revision++
	w.k.Apply(&syncv1.HealthUpdate{Term: "t", Revision: uint64(w.revision), Proxies: ids, ProxiesChanged: true}, w.now)
}

func dur(d time.Duration) *durationpb.Duration { return durationpb.New(d) }
