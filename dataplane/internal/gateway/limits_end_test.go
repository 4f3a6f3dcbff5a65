package gateway

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"fairway/pkg/bank"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/testkit/fakellm"
)

// warm makes requests until one is served: from then on this proxy holds credits.
func (w *world) warm() {
	w.t.Helper()
	w.eventually("a request is served", func() bool {
		got, _ := w.call(w.t, "POST", "/v1/chat/completions", cheapBody, "Authorization: Bearer "+w.key)
		return got.StatusCode == 200
	})
}

// TestSlots: as many requests at once as the limit has, and a client that leaves gives its slot back, wherever its request
// is by then.
func TestSlots(t *testing.T) {
	for name, body := range map[string]string{"waiting": cheapBody, "before the first event": cheapStream, "in a stream": cheapStream} {
		t.Run(name, func(t *testing.T) {
			w := billed(t)
			l := w.lend(50 * time.Millisecond)
			w.limits(l, map[bank.Owner]*syncv1.LimitsState{theGroup: {Concurrency: 2}})
			w.warm()
			gate := fakellm.NewGate()
			hang := fakellm.Hang(gate)
			if name == "in a stream" {
				hang = fakellm.HangMidStream(2, gate)
			}
			w.provider.SetBehaviour(secretA, hang)
			var held []net.Conn
			for range 2 {
				c := w.dial()
				w.eventually("a slot is lent", func() bool {
					return l.keeper.Connected() && l.view(theGroup, slots).Held+l.view(theGroup, slots).Left > 0
				})
				_, _ = io.WriteString(c, request("/v1/chat/completions", w.key, body))
				wait(t, "the upstream holds the request", gate.Entered())
				held = append(held, c)
			}
			got, text := w.call(t, "POST", "/v1/chat/completions", cheapBody, "Authorization: Bearer "+w.key)
			if got.StatusCode != 429 || !strings.Contains(text, "the group's limit of 2 requests at once") || got.Header.Get("Retry-After") != "1" {
				t.Fatalf("a third: %d %s, retry after %q", got.StatusCode, text, got.Header.Get("Retry-After"))
			}
			for _, c := range held {
				_ = c.Close()
				wait(t, "the upstream request is canceled", gate.Canceled())
			}
			w.quiet()
			w.provider.SetBehaviour(secretA, fakellm.Healthy())
			w.warm()
			w.eventually("the slots are back", func() bool { return l.view(theGroup, slots).Spent == 0 })
		})
	}
}

// TestLeavesWhileItWaitsForRoom: a client that leaves while its request waits for the leader ends the wait; it took nothing,
// and is on no books. The wait of who stays ends with the leader's answer.
func TestLeavesWhileItWaitsForRoom(t *testing.T) {
	w := billed(t)
	l := w.lend(time.Hour)
	l.stop()
	w.limits(l, map[bank.Owner]*syncv1.LimitsState{theKey: {Rpm: 2, Concurrency: 1}})
	l.keeper.Connect()
	l.exchange()
	for _, how := range []string{"closed", "half-closed", "reset"} {
		c := w.dial()
		_, _ = io.WriteString(c, request("/v1/chat/completions", w.key, cheapBody))
		w.eventually("the request is there", func() bool { return w.gauge("fairway_requests_in_flight") == 1 })
		switch how {
		case "closed":
			_ = c.Close()
		case "half-closed":
			_ = c.(*net.TCPConn).CloseWrite()
		case "reset":
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
		}
		w.quiet()
	}
	if n := len(w.books.all()) + len(w.provider.Requests()); n != 0 {
		t.Errorf("%d records and requests", n)
	}
	l.run()
	for range 2 {
		w.warm()
	}
}

// TestRealtimeLimits: each response of a session counts as a request does. When there is no room for another, the client
// reads why, and the session ends.
func TestRealtimeLimits(t *testing.T) {
	for _, tc := range []struct {
		name   string
		limits *syncv1.LimitsState
		code   websocket.StatusCode
		reason string
	}{
		{"requests", &syncv1.LimitsState{Rpm: 2}, websocket.StatusTryAgainLater, "rate_limit_exceeded"},
		{"a budget", &syncv1.LimitsState{Budgets: budgetOf(9000, resourcev1.BudgetWindow_BUDGET_WINDOW_TOTAL), Concurrency: 1},
			websocket.StatusPolicyViolation, "insufficient_quota"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := billed(t)
			l := w.lend(patience)
			w.limits(l, map[bank.Owner]*syncv1.LimitsState{theParent: tc.limits})
			s := w.session("gpt-x")
			s.respond(8, 2, 1000)
			s.respond(8, 2, 1000)
			event := s.hear()
			if !strings.Contains(event, `{"type":"error","event_id":"req_`) || !strings.Contains(event, `"code":"`+tc.reason+`"`) ||
				!strings.Contains(event, "the tenant's limit of ") {
				t.Errorf("the last event: %s", event)
			}
			_, err := s.next()
			if got := websocket.CloseStatus(err); got != tc.code || !strings.Contains(err.Error(), tc.reason) {
				t.Errorf("the end: %v", err)
			}
			w.settled(t)
			w.noConnections()
			if n := len(w.books.all()); n != 2 {
				t.Errorf("%d records", n)
			}
			_, id, _ := strings.Cut(event, `"event_id":"`)
			id, _, _ = strings.Cut(id, `"`)
			if d := w.gateway.Lookup(id); d.GetOutcome() != outcomeRefused {
				t.Errorf("explained: %v", d)
			}
			l.stop()
			l.keeper.Connect()
			l.exchange()
			for kind, want := range map[bank.Kind]int64{requestsAMinute: 2 * min(tc.limits.GetRpm(), 1), slots: 0} {
				if v := l.view(theParent, kind); v.Spent != want {
					t.Errorf("%+v: %d is spent, want %d", kind, v.Spent, want)
				}
			}
			for i, r := range w.books.all() {
				if r.Reserved == 0 {
					t.Errorf("nothing was reserved for response %d", i+1)
				}
			}
			if all := w.books.all(); all[1].BeginMS < all[0].BeginMS || all[1].BeginMS > all[1].TimeMS {
				t.Errorf("begun at %d and %d, ended at %d", all[0].BeginMS, all[1].BeginMS, all[1].TimeMS)
			}
		})
	}
}

// TestRealtimeSessionEnds: a session that ends while it holds room for a response that did not come gives that back.
func TestRealtimeSessionEnds(t *testing.T) {
	for responses := range 3 {
		t.Run(fmt.Sprint(responses), func(t *testing.T) {
			w := billed(t)
			l := w.lend(patience)
			w.limits(l, map[bank.Owner]*syncv1.LimitsState{theKey: {Rpm: 100, Tpm: 1e6, Concurrency: 1}})
			s := w.session("gpt-x")
			for range responses {
				s.respond(8, 2, 5)
			}
			_ = s.Close(websocket.StatusNormalClosure, "")
			w.settled(t)
			l.stop()
			l.keeper.Connect()
			l.exchange()
			for kind, want := range map[bank.Kind]int64{requestsAMinute: max(int64(responses), 1), tokensAMinute: 13 * int64(responses), slots: 0} {
				if v := l.view(theKey, kind); v.Spent != want {
					t.Errorf("%+v: %d is spent, want %d", kind, v.Spent, want)
				}
			}
		})
	}
}

// TestNothingCountsTwice: whatever becomes of requests, by their clients and their upstreams, what was spent in the end is
// what is on the books, no slot stays taken, and a budget is not exceeded by what was exactly estimated.
func TestNothingCountsTwice(t *testing.T) {
	w := newWorld(t)
	w.put(syncv1.Kind_KIND_MODEL, "m1", &syncv1.ModelState{Name: "gpt-x", Prices: []*syncv1.PriceState{{Request: 1000}}})
	w.tiers(secretA, secretB)
	l := w.lend(patience)
	const budget = 150 * 2000
	limits := func() *syncv1.LimitsState { return &syncv1.LimitsState{Rpm: 1000, Tpm: 1e6, Concurrency: 4} }
	key := limits()
	key.Budgets = budgetOf(budget, resourcev1.BudgetWindow_BUDGET_WINDOW_TOTAL)
	w.limits(l, map[bank.Owner]*syncv1.LimitsState{theKey: key, theTenant: limits()})
	w.provider.SetBehaviour(secretB, fakellm.SlowEvents(time.Millisecond))
	var clients sync.WaitGroup
	for seed := range uint64(8) {
		clients.Go(func() {
			random := rand.New(rand.NewPCG(seed, 1))
			for range 40 {
				body := []string{cheapBody, cheapStream}[random.IntN(2)]
				c, err := net.Dial("tcp", w.addr)
				if err != nil {
					t.Error(err)
					return
				}
				_ = c.SetDeadline(time.Now().Add(patience))
				_, _ = io.WriteString(c, request("/v1/chat/completions", w.key, body, "Connection: close"))
				if random.IntN(2) == 0 {
					_, _ = io.CopyN(io.Discard, c, random.Int64N(600))
				} else {
					_, _ = io.Copy(io.Discard, c)
				}
				_ = c.Close()
				if random.IntN(8) == 0 {
					b := fakellm.Status([]int{400, 429, 500}[random.IntN(3)], "", 0)
					b.Times = 1
					w.provider.SetBehaviour(secretA, b)
				}
			}
		})
	}
	clients.Wait()
	w.quiet()
	l.stop()
	l.keeper.Connect()
	l.exchange()
	var cost, tokens int64
	all := w.books.all()
	for _, r := range all {
		cost += r.CostNanoUSD
		tokens += r.Input + r.Output
	}
	for _, who := range []bank.Owner{theKey, theTenant} {
		for kind, want := range map[bank.Kind]int64{requestsAMinute: int64(len(all)), tokensAMinute: tokens, slots: 0} {
			if v := l.view(who, kind); v.Spent != want {
				t.Errorf("%s, %+v: %d is spent, the books have %d", who.ID, kind, v.Spent, want)
			}
		}
	}
	v := l.view(theKey, costInAll)
	if v.Spent != cost || cost > budget || v.Excess != 0 {
		t.Errorf("%d is spent of %d, the books have %d; %+v", v.Spent, int64(budget), cost, v)
	}
	if len(all) < 100 || cost == 0 {
		t.Errorf("%d records of %d nano-USD: nothing was tested", len(all), cost)
	}
	// On the books, it is not spent any more.
	l.commit()
	l.keeper.Connect()
	l.exchange()
	if v := l.view(theKey, costInAll); v.Booked != cost || v.Spent != 0 {
		t.Errorf("with books: %+v, want %d", v, cost)
	}
}
