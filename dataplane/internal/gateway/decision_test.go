package gateway

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"fairway/dataplane/internal/ingress"
	"fairway/dataplane/internal/snapshot"
	"fairway/pkg/clientkey"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/testkit/fakellm"
)

// requestIDOf is the id that an answer carries.
func requestIDOf(t *testing.T, answer string) string {
	t.Helper()
	_, rest, _ := strings.Cut(answer, "X-Request-Id: ")
	id, _, ok := strings.Cut(rest, "\r\n")
	if !ok {
		t.Fatalf("no id in\n%s", answer)
	}
	return id
}

// known waits until a request that has ended is remembered: its answer goes out before.
func (w *world) known(id string) *adminv1.Decision {
	w.t.Helper()
	var d *adminv1.Decision
	w.eventually("the request is known, and over", func() bool {
		d = w.gateway.Lookup(id)
		return d != nil && d.GetOutcome() != outcomeLive
	})
	return d
}

// What can be said of every decision, less what differs from run to run.
var ignoreMoments = protocmp.IgnoreFields(&adminv1.Decision{}, "start_time", "took", "request_id", "revision")
var ignoreTook = protocmp.IgnoreFields(&adminv1.DecisionAttempt{}, "took")

func TestLookup(t *testing.T) {
	const prompt = "a secret prompt"
	body := `{"model":"gpt-x","messages":[{"role":"user","content":"` + prompt + `"}]}`
	for _, tc := range []struct {
		name   string
		faults []fakellm.Behaviour // of a and b
		body   string
		want   *adminv1.Decision
	}{
		{"served at once", []fakellm.Behaviour{fakellm.Healthy(), fakellm.Healthy()}, body, &adminv1.Decision{
			Status: 200, Outcome: "served",
			Attempts: []*adminv1.DecisionAttempt{{Channel: "ch-a", Account: "acc-a0", Picked: "chosen", Status: 200}},
		}},
		{"served by the second", []fakellm.Behaviour{fakellm.Status(500, "", 0), fakellm.Healthy()}, body, &adminv1.Decision{
			Status: 200, Outcome: "served",
			Attempts: []*adminv1.DecisionAttempt{
				{Channel: "ch-a", Account: "acc-a0", Picked: "chosen", Status: 500, Verdict: "server_error"},
				{Channel: "ch-b", Account: "acc-b0", Picked: "spilled", Status: 200},
			},
		}},
		{"failed", []fakellm.Behaviour{fakellm.Status(500, "", 0), fakellm.Status(503, "", 0)}, body, &adminv1.Decision{
			Status: 503, Outcome: "failed", Error: "overloaded",
			Attempts: []*adminv1.DecisionAttempt{
				{Channel: "ch-a", Account: "acc-a0", Picked: "chosen", Status: 500, Verdict: "server_error"},
				{Channel: "ch-b", Account: "acc-b0", Picked: "spilled", Status: 503, Verdict: "overloaded"},
			},
			Candidates: []*adminv1.DecisionCandidate{
				{Channel: "ch-a", Account: "acc-a0", Priority: 100},
				{Channel: "ch-b", Account: "acc-b0", Priority: 99},
			},
		}},
		{"refused upstream", []fakellm.Behaviour{fakellm.Status(400, "bad", 0), fakellm.Healthy()}, body, &adminv1.Decision{
			Status: 400, Outcome: "refused",
			Attempts: []*adminv1.DecisionAttempt{{Channel: "ch-a", Account: "acc-a0", Picked: "chosen", Status: 400, Verdict: "client"}},
		}},
		{"refused here", []fakellm.Behaviour{fakellm.Healthy(), fakellm.Healthy()}, `{"model":"nope"}`, &adminv1.Decision{
			Model: "nope", Status: 404, Outcome: "refused", Error: "model_not_found", Miss: "final",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, func(o *Options, _ *ingress.Options) { o.Proxy = func() string { return "p-7" } })
			w.tiers(secretA, secretB)
			w.provider.SetBehaviour(secretA, tc.faults[0])
			w.provider.SetBehaviour(secretB, tc.faults[1])
			id := requestIDOf(t, w.post("/v1/chat/completions", tc.body))
			want := tc.want
			want.Proxy, want.Key, want.Group, want.Operation, want.Strategy = "p-7", "k1", "default", "chat", "weighted_random"
			if want.GetModel() == "" {
				want.Model = "gpt-x"
			}
			got := w.known(id)
			if got.GetRequestId() != id || got.GetStartTime() == nil || got.GetTook() == nil || got.GetRevision() != w.revision {
				t.Errorf("%v", got)
			}
			if got.GetOutcome() == outcomeFailed {
				if n := len(got.GetCandidates()); n != 2 || got.GetCandidates()[1].GetExcluded() == "" {
					t.Errorf("candidates: %v", got.GetCandidates())
				}
				for _, c := range got.GetCandidates() {
					c.Excluded, c.Share, c.Vigor, c.Cost, c.Performance, c.Load, c.Reliability = "", 0, 0, 0, 0, 0, 0
				}
			}
			if d := cmp.Diff(want, got, protocmp.Transform(), ignoreMoments, ignoreTook); d != "" {
				t.Errorf("decision (-want +got):\n%s", d)
			}
			if text := got.String() + w.log.String(); strings.Contains(text, prompt) || strings.Contains(text, secretA) || strings.Contains(text, w.key) {
				t.Errorf("it tells what it must not:\n%s", text)
			}
		})
	}
	if d := newWorld(t).gateway.Lookup("req_nobody"); d != nil {
		t.Errorf("what never was is %v", d)
	}
}

// A request is known while it waits, and says for whom.
func TestLookupLive(t *testing.T) {
	w := newWorld(t)
	w.tiers(secretA, secretB)
	gate := fakellm.NewGate()
	w.provider.SetBehaviour(secretA, fakellm.Status(500, "", 0))
	w.provider.SetBehaviour(secretB, fakellm.Hang(gate))
	c := w.dial()
	_, _ = io.WriteString(c, request("/v1/chat/completions", w.key, plainBody, "Connection: close"))
	wait(t, "the upstream holds it", gate.Entered())
	var id string
	w.gateway.crowd.each(func(x *exchange) bool {
		x.look.Lock()
		defer x.look.Unlock()
		if x.open {
			id = x.requestID()
		}
		return true
	})
	got := w.gateway.Lookup(id)
	want := &adminv1.Decision{
		Key: "k1", Group: "default", Model: "gpt-x", Operation: "chat", Strategy: "weighted_random", Outcome: "live",
		Attempts: []*adminv1.DecisionAttempt{
			{Channel: "ch-a", Account: "acc-a0", Picked: "chosen", Status: 500, Verdict: "server_error"},
			{Channel: "ch-b", Account: "acc-b0", Picked: "spilled"},
		},
	}
	if d := cmp.Diff(want, got, protocmp.Transform(), ignoreMoments, ignoreTook); d != "" {
		t.Errorf("decision (-want +got):\n%s", d)
	}
	gate.Open()
	if _, err := io.ReadAll(c); err != nil {
		t.Fatal(err)
	}
	if d := w.known(id); d.GetOutcome() != "served" || d.GetTook() == nil {
		t.Errorf("when it was over: %v", d)
	}
}

// Requests are looked up while others begin and end: each is itself or not known, and nothing is torn.
func TestLookupMany(t *testing.T) {
	w := newWorld(t, func(o *Options, _ *ingress.Options) { o.MaxTrails = 8 })
	w.tiers(secretA, secretB)
	ids := make(chan string, 1024)
	var asking, answering sync.WaitGroup
	for range 4 {
		answering.Go(func() {
			for range 60 {
				ids <- requestIDOf(t, w.post("/v1/chat/completions", plainBody))
			}
		})
		asking.Go(func() {
			for id := range ids {
				if d := w.gateway.Lookup(id); d != nil && (d.GetRequestId() != id || d.GetModel() != "gpt-x" || len(d.GetAttempts()) != 1) {
					t.Errorf("%s is %v", id, d)
				}
			}
		})
	}
	answering.Wait()
	close(ids)
	asking.Wait()
}

// Failures are kept in a bounded number of bytes, the newest of them.
func TestRecallIsBounded(t *testing.T) {
	const most = 20 << 10
	r := newRecall(1, most)
	for i := range 1000 {
		d := &adminv1.Decision{RequestId: fmt.Sprint("r", i), Error: strings.Repeat("e", i%200)}
		r.keep(d)
		if r.bytes > most {
			t.Fatalf("%d bytes", r.bytes)
		}
		if got := r.find(d.GetRequestId()); got.GetError() != d.GetError() {
			t.Fatalf("the newest, %s, is not there", d.GetRequestId())
		}
	}
	if r.find("r0") != nil || r.find("r990") == nil {
		t.Error("not the oldest are forgotten")
	}
	sum := 0
	for _, k := range r.bad {
		sum += len(k.body) + keptOverhead
	}
	if sum != r.bytes || len(r.bad) < 40 {
		t.Errorf("%d decisions of %d bytes, counted as %d", len(r.bad), sum, r.bytes)
	}
	r.keep(&adminv1.Decision{RequestId: "huge", Error: strings.Repeat("e", most)})
	if r.find("huge") != nil || r.find("r999") == nil {
		t.Error("one that is too large is kept, or has pushed out the others")
	}
}

// What is remembered of a request keeps nothing alive of an account that is deleted meanwhile.
func TestTraceHoldsNoAccount(t *testing.T) {
	r := newRecall(1, 0)
	x := new(exchange)
	x.out, x.snap, x.key, x.group = new(ingress.Response), new(snapshot.Snapshot), new(snapshot.Key), new(snapshot.Group)
	deleted := &snapshot.Account{Name: "a", Channel: &snapshot.Channel{Name: "c"}}
	for range traced + 1 {
		x.endStep(x.beginStep(deleted, "chosen"), "server_error", 500)
	}
	r.trace(x, outcomeServed, time.Second)
	for i, s := range r.good[0].steps {
		if s.with != nil || s.account != "a" || s.channel != "c" {
			t.Errorf("step %d: %+v", i, s)
		}
	}
}

func TestDecisionSample(t *testing.T) {
	for _, ppm := range []uint32{0, 1_000_000} {
		t.Run(fmt.Sprint(ppm), func(t *testing.T) {
			w := newWorld(t)
			w.tiers(secretA, secretB)
			w.settings.DecisionSamplePpm = ppm
			w.put(syncv1.Kind_KIND_SETTINGS, "settings", w.settings)
			w.publish()
			d := w.known(requestIDOf(t, w.post("/v1/chat/completions", plainBody)))
			logged := strings.Contains(w.log.String(), "request decided")
			if full := len(d.GetCandidates()) > 0; full != (ppm > 0) || logged != (ppm > 0) {
				t.Errorf("candidates known: %v, logged: %v\n%v", full, logged, d)
			}
		})
	}
}

// Answers to keys that debug say who served and why; those to others do not.
func TestDebugHeaders(t *testing.T) {
	w := newWorld(t, func(o *Options, _ *ingress.Options) { o.Proxy = func() string { return "p-7" } })
	w.tiers(secretA, secretB)
	w.provider.SetBehaviour(secretA, fakellm.Status(500, "", 0))
	if answer := w.post("/v1/chat/completions", plainBody, "X-Fairway-Debug: 1"); strings.Contains(answer, "X-Fairway-") {
		t.Errorf("for everybody who asks:\n%s", answer)
	}
	w.debug()
	for _, body := range []string{plainBody, streamBody} {
		answer := w.post("/v1/chat/completions", body)
		for _, want := range []string{
			"X-Fairway-Attempts: 2", "X-Fairway-Channel: ch-b", "X-Fairway-Account: acc-b0", "X-Fairway-Pick: spilled",
			"X-Fairway-Strategy: weighted_random", "X-Fairway-Proxy: p-7", fmt.Sprint("X-Fairway-Revision: ", w.revision),
		} {
			if !strings.Contains(answer, want+"\r\n") {
				t.Errorf("no %q in\n%s", want, answer)
			}
		}
	}
}

func BenchmarkTrace(b *testing.B) {
	w := newWorld(b)
	w.tiers(secretA)
	s := w.holder.Current()
	x := &exchange{g: w.gateway}
	x.snap, x.start = s, time.Now()
	x.group, _ = s.Group("g1")
	x.key, _ = s.Key(clientkey.NewHasher(pepper).Sum([]byte(w.key)))
	x.out = new(ingress.Response)
	x.setModel([]byte("gpt-x"))
	x.trail = []step{{channel: "c", account: "a", picked: "chosen", status: 200, ended: true}}
	b.ReportAllocs()
	for b.Loop() {
		x.opens()
		w.gateway.recall.trace(x, outcomeServed, time.Second)
		x.closes()
	}
}
