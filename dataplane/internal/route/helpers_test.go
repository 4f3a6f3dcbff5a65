package route

import (
	"fmt"
	"math"
	"testing"

	"google.golang.org/protobuf/proto"

	"fairway/dataplane/internal/snapshot"
	"fairway/pkg/digest"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

const (
	weighted    = resourcev1.Strategy_STRATEGY_WEIGHTED_RANDOM
	leastUsed   = resourcev1.Strategy_STRATEGY_LEAST_USED
	leastRecent = resourcev1.Strategy_STRATEGY_LEAST_RECENT
	lowestCost  = resourcev1.Strategy_STRATEGY_LOWEST_COST
	balanced    = resourcev1.Strategy_STRATEGY_BALANCED

	affinityOn   = resourcev1.Affinity_AFFINITY_ON
	affinityHard = resourcev1.Affinity_AFFINITY_HARD
)

var strategies = []resourcev1.Strategy{weighted, leastUsed, leastRecent, lowestCost, balanced}

// groupOf is a group of a strategy, with affinity.
func groupOf(s resourcev1.Strategy) *syncv1.GroupState {
	return &syncv1.GroupState{Name: "g", Strategy: int32(s), Affinity: int32(affinityOn)}
}

// nowMS is the time of tests.
const nowMS = 1_700_000_000_000

// channel of a test pool: its accounts have the given weights.
type channel struct {
	priority int32
	weight   uint32
	accounts []uint32
}

// world is a state of one group, "g", and one model, "m". Account j of channel i is "i.j".
type world struct {
	channels []channel
	ratios   []int64         // of the channels, in millionths; absent = 1
	passive  map[string]bool // accounts by id
	group    *syncv1.GroupState
	settings *syncv1.SettingsState
}

// house is a world as a proxy compiles it.
type house struct {
	t       testing.TB
	replica *snapshot.Replica
	sent    map[string]*syncv1.Change
	version int64
}

func open(t testing.TB, w world) *house {
	t.Helper()
	h := &house{t: t, replica: snapshot.NewReplica(), sent: make(map[string]*syncv1.Change)}
	var changes []*syncv1.Change
	if w.group == nil {
		w.group = &syncv1.GroupState{Name: "g", Strategy: int32(weighted)}
	}
	changes = append(changes, h.change(syncv1.Kind_KIND_GROUP, "g", w.group))
	if w.settings != nil {
		w.settings.Pepper = []byte("pepper")
		changes = append(changes, h.change(syncv1.Kind_KIND_SETTINGS, "settings", w.settings))
	}
	for i, c := range w.channels {
		st := &syncv1.ChannelState{
			Provider: 1, BaseUrl: "http://h", Models: []string{"m"}, GroupIds: []string{"g"}, Priority: c.priority, Weight: c.weight,
		}
		if i < len(w.ratios) {
			st.PriceRatioPpm = w.ratios[i]
		}
		changes = append(changes, h.change(syncv1.Kind_KIND_CHANNEL, channelID(i), st))
		for j, weight := range c.accounts {
			changes = append(changes, h.account(i, j, weight, w.passive[accountID(i, j)]))
		}
	}
	h.send(changes...)
	return h
}

func channelID(i int) string    { return fmt.Sprintf("%05d", i) }
func accountID(i, j int) string { return fmt.Sprintf("%d.%d", i, j) }

func (h *house) account(i, j int, weight uint32, passive bool) *syncv1.Change {
	return h.change(syncv1.Kind_KIND_ACCOUNT, accountID(i, j),
		&syncv1.AccountState{ChannelId: channelID(i), Weight: weight, Unschedulable: passive})
}

func (h *house) change(kind syncv1.Kind, id string, m proto.Message) *syncv1.Change {
	h.t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		h.t.Fatal(err)
	}
	h.version++
	return &syncv1.Change{Kind: kind, Id: id, Version: h.version, Body: b}
}

// send compiles the next snapshot.
func (h *house) send(changes ...*syncv1.Change) {
	h.t.Helper()
	base := h.replica.Snapshot().Revision()
	for _, c := range changes {
		id := fmt.Sprint(c.GetKind(), c.GetId())
		if h.sent[id] = c; c.GetDeleted() {
			delete(h.sent, id)
		}
	}
	txn := &syncv1.Txn{Lineage: "L", BaseRevision: base, Revision: base + 1, Changes: changes, Last: true}
	if base == 0 {
		txn.ReplacedBuckets = math.MaxUint64
	}
	var sums digest.Sums
	for _, c := range h.sent {
		sums.Add(int32(c.GetKind()), c.GetId(), c.GetVersion(), c.GetBody())
	}
	txn.Digest = sums.Root()
	if _, err := h.replica.Receive(txn); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) pool() *snapshot.Pool {
	h.t.Helper()
	s := h.replica.Snapshot()
	p, ok := s.Pool(h.group(), "m")
	if !ok {
		h.t.Fatal("no pool")
	}
	return p
}

func (h *house) group() *snapshot.Group {
	g, _ := h.replica.Snapshot().Group("g")
	return g
}

// ask is what a request of the house's group wants.
func (h *house) ask() *Ask {
	return &Ask{Group: h.group(), Settings: h.replica.Snapshot().SettingsRef(), NowMS: nowMS}
}

// pool compiles channels into a pool of the strategy "weighted_random".
func pool(t testing.TB, channels ...channel) *snapshot.Pool {
	t.Helper()
	return open(t, world{channels: channels}).pool()
}

// pick asks for a group of the strategy "weighted_random" without anything else.
func pick(p *snapshot.Pool, tried []*snapshot.Account, nowMS int64, rng *Rand) (*snapshot.Candidate, Reason) {
	a := Ask{Group: &snapshot.Group{Strategy: int32(weighted)}, Settings: &snapshot.Settings{}, Tried: tried, NowMS: nowMS}
	return Pick(p, &a, rng)
}

// each calls f with every candidate.
func each(p *snapshot.Pool, f func(*snapshot.Candidate)) {
	for i := range p.Tiers {
		for _, r := range p.Tiers[i].Rosters {
			for j := range r.Candidates {
				f(&r.Candidates[j])
			}
		}
	}
}

func find(t testing.TB, p *snapshot.Pool, id snapshot.AccountID) *snapshot.Candidate {
	t.Helper()
	c := p.Find(id)
	if c == nil {
		t.Fatalf("no account %s", id)
	}
	return c
}

// counts picks n times and says how often each account was meant. The accounts stay idle.
func counts(t testing.TB, p *snapshot.Pool, a *Ask, n int) map[snapshot.AccountID]int {
	t.Helper()
	rng := SeededRand(7)
	got := make(map[snapshot.AccountID]int)
	for range n {
		c, reason := Pick(p, a, &rng)
		if c == nil {
			t.Fatalf("nobody was picked: %v", reason)
		}
		got[c.Account.ID]++
	}
	return got
}

// agree checks that counts follow shares: the chi-square statistic is below what chance exceeds once in a million. The seeds are
// fixed, so a test that passes always does.
func agree(t testing.TB, got map[snapshot.AccountID]int, want map[snapshot.AccountID]float64) {
	t.Helper()
	n, total := 0, 0.0
	for _, k := range got {
		n += k
	}
	for _, w := range want {
		total += w
	}
	chi, degrees := 0.0, -1.0
	for id, w := range want {
		if w == 0 {
			continue
		}
		e := float64(n) * w / total
		chi += (float64(got[id]) - e) * (float64(got[id]) - e) / e
		degrees++
	}
	for id, k := range got {
		if want[id] == 0 && k > 0 {
			t.Errorf("%s was picked %d times, want never", id, k)
		}
	}
	// Wilson and Hilferty's approximation, at 4.75 standard deviations.
	if degrees < 1 {
		return
	}
	v := 2 / (9 * degrees)
	if limit := degrees * math.Pow(1-v+4.75*math.Sqrt(v), 3); chi > limit {
		t.Errorf("chi-square = %.1f with %.0f degrees of freedom, want %.1f at most\n got %v\nwant %v of %d", chi, degrees, limit, got, want, n)
	}
}
