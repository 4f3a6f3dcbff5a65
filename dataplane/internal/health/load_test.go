package health

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/snapshot"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// TestManyAtOnce: a thousand goroutines use it while it ticks, reports and applies; nothing is lost and nothing stays
// under way.
func TestManyAtOnce(t *testing.T) {
	const goroutines, each = 1000, 20
	w := newWorld(t, Options{}, "a", "b", "d")
	w.account("capped", func(s *syncv1.AccountState) { s.Rpm, s.Tpm, s.Concurrency = 1_000_000, 1_000_000_000, 10_000 })
	w.publish()
	ids := []string{"a", "b", "d", "capped"}
	var candidates []*snapshot.Candidate
	for _, id := range ids {
		candidates = append(candidates, w.candidate(id))
	}
	pool := w.pool()
	verdicts := []dialect.Verdict{classify(500, ""), classify(429, ""), classify(529, ""), classify(404, "model_not_found"), classify(400, "")}
	headers := header(map[string]string{
		"x-ratelimit-limit-requests": "100", "x-ratelimit-remaining-requests": "50", "x-ratelimit-reset-requests": "1s",
	})
	stop := make(chan struct{})
	var background, walks sync.WaitGroup
	var ok, failed uint64
	collect := func(r *syncv1.HealthReport) {
		for _, a := range r.GetAccounts() {
			ok += a.GetOk()
			for _, f := range a.GetFaults() {
				failed += f.GetCount()
			}
		}
	}
	background.Go(func() {
		now := begin
		for {
			select {
			case <-stop:
				return
			default:
			}
			now = now.Add(250 * time.Millisecond)
			w.k.Tick(now)
			collect(w.k.Report(now))
			w.k.Apply(&syncv1.HealthUpdate{Term: "t", Revision: 1, Accounts: []*syncv1.AccountFacts{{AccountId: "a", Ok: 5, SharePpm: 500_000}},
				Permits: []*syncv1.ProbePermit{{Id: now.String(), AccountId: "b", Ttl: dur(time.Second)}}}, now)
		}
	})
	for g := range goroutines {
		walks.Go(func() {
			for i := range each {
				c := candidates[(g+i)%len(candidates)]
				now := begin.Add(time.Duration(i) * time.Millisecond)
				w.k.Refuses(c.Account, model, now.UnixMilli())
				o := &Outcome{Candidate: c, Model: model, TTFT: time.Second, UncachedInput: 100, Took: time.Second, Now: now}
				if p, id := w.k.Permit(pool, now.UnixMilli()); p != nil {
					o.Candidate, o.Permit = p, id
				}
				w.k.Began(o.Candidate, now.UnixMilli())
				w.k.Headers(c.Account, headers, now)
				if i%4 == 3 {
					o.Verdict = &verdicts[(g+i)%len(verdicts)]
				}
				w.k.Spent(c.Account, 10)
				w.k.Ended(o)
			}
		})
	}
	walks.Wait()
	close(stop)
	background.Wait()
	collect(w.k.Report(begin))
	if want := uint64(goroutines * each * 3 / 4); ok != want || failed != want/3 {
		t.Errorf("reported %d good and %d failed, want %d and %d", ok, failed, want, want/3)
	}
	for i, c := range candidates {
		if n := c.Cell.InFlight.Load(); n != 0 {
			t.Errorf("%s: %d under way", ids[i], n)
		}
	}
}

// TestNewCredential: a late failure of the old one is not held against the new.
func TestNewCredential(t *testing.T) {
	w := newWorld(t, Options{}, "a")
	old := w.candidate("a")
	w.k.Began(old, w.now.UnixMilli())
	w.account("a", func(s *syncv1.AccountState) { s.Secret = "sk-new" })
	w.publish()
	w.k.Tick(w.now)
	w.ok("a")
	v := classify(401, "")
	w.k.Ended(&Outcome{Candidate: old, Model: model, Verdict: &v, Now: w.now})
	if got := w.held("a"); got != 0 {
		t.Errorf("the new one is held for %v", got)
	}
	d := w.delta("a")
	if d.GetOk() != 1 || len(d.GetFaults()) != 0 || d.GetDisabled() {
		t.Errorf("reported: %v", d)
	}
}

// TestManyAccounts: what is kept is of accounts that are used.
func TestManyAccounts(t *testing.T) {
	w := newWorld(t, Options{})
	for i := range 2000 {
		w.account(fmt.Sprintf("a%04d", i), nil)
	}
	w.publish()
	for i := range 20 {
		w.ok(fmt.Sprintf("a%04d", i))
	}
	w.tick(time.Second)
	if n := len(w.k.list); n != 20 {
		t.Errorf("%d accounts are kept, 20 were used", n)
	}
	w.items = map[string]*syncv1.Change{}
	w.channel("c", nil)
	w.account("a0001", nil)
	w.put(syncv1.Kind_KIND_GROUP, "g", &syncv1.GroupState{Name: "g", Strategy: 1, PriceRatioPpm: 1_000_000})
	w.publish()
	w.tick(time.Minute)
	if n := len(w.k.list); n != 1 {
		t.Errorf("%d accounts are kept, one is left", n)
	}
}

// TestNoAllocations is of what each request calls.
func TestNoAllocations(t *testing.T) {
	w := newWorld(t, Options{}, "a")
	w.account("capped", func(s *syncv1.AccountState) { s.Rpm, s.Tpm, s.Concurrency = 100_000_000, 1_000_000_000, 10_000 })
	w.publish()
	w.k.Apply(&syncv1.HealthUpdate{Term: "t", Full: true, Latencies: []*syncv1.ModelLatency{{Model: model, BaseMs: 1}}}, w.now)
	w.fail("a", classify(404, "model_not_found"), 0) // so that bars are looked through
	at := begin.Add(time.Minute).Format(time.RFC3339)
	values := map[string][]byte{}
	for _, d := range anthropic {
		values[d.limit], values[d.remaining], values[d.reset] = []byte("1000"), []byte("900"), []byte(at)
	}
	for _, d := range openAI {
		values[d.limit], values[d.remaining], values[d.reset] = []byte("1000"), []byte("900"), []byte("6m0s")
	}
	find := func(name string) []byte { return values[name] }
	pool := w.pool()
	for _, id := range []string{"a", "capped"} {
		c := w.candidate(id)
		o := &Outcome{Candidate: c, Model: model, TTFT: time.Second, Took: time.Second, UncachedInput: 10, Now: w.now}
		got := testing.AllocsPerRun(100, func() {
			o.answered = false
			w.k.Permit(pool, w.now.UnixMilli())
			w.k.Refuses(c.Account, model, w.now.UnixMilli())
			w.k.Began(c, w.now.UnixMilli())
			w.k.Headers(c.Account, find, w.now)
			w.k.Spent(c.Account, 1)
			w.k.Ended(o)
		})
		if got != 0 {
			t.Errorf("%s: %v allocations", id, got)
		}
	}
}

// BenchmarkRequest is what the room costs one request: Refuses, Began and Ended.
func BenchmarkRequest(b *testing.B) {
	for _, kind := range []string{"plain", "capped", "fitted"} {
		b.Run(kind, func(b *testing.B) {
			w := newWorld(b, Options{})
			w.account("a", func(s *syncv1.AccountState) {
				if kind == "capped" {
					s.Rpm, s.Tpm, s.Concurrency = 100_000_000, 1_000_000_000, 10_000
				}
			})
			w.publish()
			if kind == "fitted" {
				w.k.Apply(&syncv1.HealthUpdate{Term: "t", Full: true, Latencies: []*syncv1.ModelLatency{{Model: model, BaseMs: 1}}}, w.now)
			}
			c, at := w.candidate("a"), w.now.UnixMilli()
			o := &Outcome{Candidate: c, Model: model, TTFT: time.Second, Took: time.Second, UncachedInput: 10, Now: w.now}
			b.ReportAllocs()
			for b.Loop() {
				o.answered = false
				w.k.Refuses(c.Account, model, at)
				w.k.Began(c, at)
				w.k.Ended(o)
			}
		})
	}
}

// BenchmarkRefuses is what it costs where there are neither caps nor bars, and with bars for another model.
func BenchmarkRefuses(b *testing.B) {
	for _, kind := range []string{"nothing", "bars"} {
		b.Run(kind, func(b *testing.B) {
			w := newWorld(b, Options{}, "a", "b")
			if kind == "bars" {
				w.fail("b", classify(529, ""), 0)
			}
			a, at := w.candidate("a").Account, w.now.UnixMilli()
			b.ReportAllocs()
			for b.Loop() {
				if w.k.Refuses(a, model, at) != 0 {
					b.Fatal("refused")
				}
			}
		})
	}
}
