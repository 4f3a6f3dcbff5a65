package judge

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"fairway/pkg/breaker"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// lab is a judge with a clock and proxies that number their reports.
type lab struct {
	t interface {
		Helper()
		Fatalf(string, ...any)
		Errorf(string, ...any)
	}
	*Judge
	clock    time.Time
	sequence map[string]uint64
	kept     []Decision
	keep     bool // Tick keeps decisions
}

func newLab(t *testing.T, accounts ...Account) *lab {
	return newLabWith(t, Options{Term: "1", Now: start, FirstEver: true}, breaker.Defaults(), accounts)
}

func newLabWith(t *testing.T, o Options, r breaker.Rules, accounts []Account) *lab {
	l := &lab{t: t, Judge: New(o), clock: o.Now, sequence: map[string]uint64{}, keep: true}
	l.Configure(r, accounts, l.clock)
	return l
}

// some accounts of one channel.
func some(n int) []Account {
	all := make([]Account, n)
	for i := range all {
		all[i] = Account{
			ID: fmt.Sprintf("a%d", i), Name: fmt.Sprintf("a%04d", i), Channel: "c", ChannelID: "c1", Credential: "x",
			Models: []string{"m"}, Groups: []string{"g"}, ChannelWeight: 100, Weight: 100,
		}
	}
	return all
}

func (l *lab) report(p string, r *syncv1.HealthReport) {
	l.sequence[p]++
	r.Sequence = l.sequence[p]
	l.Report(p, "boot-"+p, "host-"+p, r, l.clock)
}

func (l *lab) deltas(p string, d ...*syncv1.AccountDelta) {
	l.report(p, &syncv1.HealthReport{Accounts: d})
}

// pass lets time pass, with ticks as the control plane makes them, and proxies that say nothing.
func (l *lab) pass(d time.Duration, proxies ...string) {
	for end := l.clock.Add(d); l.clock.Before(end); {
		l.clock = l.clock.Add(250 * time.Millisecond)
		for _, p := range proxies {
			l.report(p, &syncv1.HealthReport{})
		}
		l.tick()
	}
}

func (l *lab) tick() []Decision {
	all := l.Tick(l.clock)
	if l.keep {
		for _, d := range all {
			l.Persisted(d, nil)
		}
	}
	l.kept = append(l.kept, all...)
	return all
}

func (l *lab) state(id string) breaker.State { return l.accounts[id].breaker.State() }

func (l *lab) want(id string, state breaker.State, reason string) {
	l.t.Helper()
	got, why, _, _, _ := l.accounts[id].breaker.Health()
	if got != state || why != reason {
		l.t.Fatalf("%s is %v because of %q, want %v because of %q", id, got, why, state, reason)
	}
}

// facts are those of one account, as a proxy that knows nothing gets them.
func (l *lab) fact(p, id string) *syncv1.AccountFacts {
	l.t.Helper()
	for since, full := uint64(0), true; ; full = false {
		u := l.Update(p, since, l.clock)
		if u == nil || !full && u.GetFull() {
			return nil
		}
		for _, f := range u.GetAccounts() {
			if f.GetAccountId() == id {
				return f
			}
		}
		since = u.GetRevision()
	}
}

func ok(id string, n uint64) *syncv1.AccountDelta {
	return &syncv1.AccountDelta{AccountId: id, Ok: n}
}

// failed is n failures, of which the last row were in a row.
func failed(id string, ok, n uint64, row uint32) *syncv1.AccountDelta {
	return &syncv1.AccountDelta{
		AccountId: id, Ok: ok, FailuresInRow: row,
		Faults: []*syncv1.FaultCount{{Reason: "server_error", Count: n, Unhealthy: true}},
	}
}

func ordered(id string, d time.Duration) *syncv1.AccountDelta {
	return &syncv1.AccountDelta{
		AccountId: id, Rest: durationpb.New(d), RestOrdered: true, RestReason: "rate_limit",
		Faults: []*syncv1.FaultCount{{Reason: "rate_limit", Count: 1}},
	}
}
