package gateway

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/protobuf/types/known/durationpb"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/testkit/fakellm"
)

// hedging has the group send a second attempt after a moment, for every request.
func hedging(g *syncv1.GroupState) {
	g.Hedged, g.HedgeAfter, g.HedgeMaxExtraPpm = true, durationpb.New(20*time.Millisecond), 1_000_000
}

// credit pays for second attempts ahead.
func (w *world) credit() {
	g, _ := w.holder.Current().Group("g1")
	for range 16 {
		g.Cell.Hedges().Asked(1_000_000)
	}
}

func (w *world) hedges() map[string]float64 {
	m := w.gateway.meters
	return map[string]float64{
		"won": testutil.ToFloat64(m.hedgesWon), "lost": testutil.ToFloat64(m.hedgesLost), "failed": testutil.ToFloat64(m.hedgesFailed),
		"denied": testutil.ToFloat64(m.hedgesDenied), "nobody": testutil.ToFloat64(m.hedgesNobody),
	}
}

func TestHedge(t *testing.T) {
	hang := fakellm.Hang
	is := func(b fakellm.Behaviour) func(*fakellm.Gate) fakellm.Behaviour {
		return func(*fakellm.Gate) fakellm.Behaviour { return b }
	}
	for _, tc := range []struct {
		name          string
		first, second func(*fakellm.Gate) fakellm.Behaviour
		unpaid, alone bool
		open          string // who is let through once both are held, or the first where there is one
		status        string
		account       string // that the books name
		result        string // of fairway_hedges_total
		failures      [2]int32
	}{
		{name: "the second wins", first: hang, second: is(fakellm.Healthy()), status: "200", account: "a-b0", result: "won"},
		{name: "the first wins", first: hang, second: hang, open: "first", status: "200", account: "a-a0", result: "lost"},
		{name: "the second fails", first: hang, second: is(fakellm.Status(500, "", 0)), open: "first after second", status: "200", account: "a-a0", result: "failed", failures: [2]int32{0, 1}},
		{name: "it is not paid for", first: hang, second: is(fakellm.Healthy()), unpaid: true, open: "first", status: "200", account: "a-a0", result: "denied"},
		{name: "there is nobody else", first: hang, alone: true, open: "first", status: "200", account: "a-a0", result: "nobody"},
	} {
		for _, body := range []string{plainBody, streamBody} {
			t.Run(fmt.Sprintf("%s, stream %v", tc.name, body == streamBody), func(t *testing.T) {
				w := newWorld(t)
				first, second := fakellm.NewGate(), fakellm.NewGate()
				w.provider.SetBehaviour(secretA, tc.first(first))
				if tc.alone {
					w.tiers(secretA)
				} else {
					w.provider.SetBehaviour(secretB, tc.second(second))
					w.tiers(secretA, secretB)
				}
				w.group(func(g *syncv1.GroupState) {
					hedging(g)
					if tc.unpaid {
						g.HedgeMaxExtraPpm = 1
					}
				})
				if !tc.unpaid {
					w.credit()
				}
				answered := make(chan string, 1)
				go func() { answered <- w.post("/v1/chat/completions", body) }()
				wait(t, "the first attempt is held", first.Entered())
				switch tc.open {
				case "first":
					if tc.result == "lost" {
						wait(t, "the second attempt is held", second.Entered())
					} else {
						w.eventually("no second attempt", func() bool { return w.hedges()[tc.result] == 1 })
					}
					first.Open()
				case "first after second":
					w.eventually("the second attempt has failed", func() bool { return w.hedges()["failed"] == 1 })
					first.Open()
				}
				answer := wait(t, "an answer", answered)
				if status(answer) != tc.status || !strings.Contains(answer, "fake provider") && body == plainBody {
					t.Errorf("the answer is\n%s", answer)
				}
				switch tc.result {
				case "won":
					wait(t, "the first attempt is aborted", first.Canceled())
				case "lost":
					wait(t, "the second attempt is aborted", second.Canceled())
				}
				w.settled(t)
				if r := w.record(); r.AccountID != tc.account || r.Error || r.Output != 6 {
					t.Errorf("record = %+v", r)
				}
				if n := len(w.books.all()); n != 1 {
					t.Errorf("%d records", n)
				}
				want := map[string]float64{"won": 0, "lost": 0, "failed": 0, "denied": 0, "nobody": 0}
				want[tc.result] = 1
				if d := cmp.Diff(want, w.hedges()); d != "" {
					t.Errorf("hedges (-want +got):\n%s", d)
				}
				for i, name := range []string{"acc-a0", "acc-b0"} {
					if tc.alone && i == 1 {
						continue
					}
					if c := w.cell(name); c.InFlight.Load() != 0 || c.Failures.Load() != tc.failures[i] {
						t.Errorf("%s: %d under way, %d failures", name, c.InFlight.Load(), c.Failures.Load())
					}
				}
			})
		}
	}
}

// The first fails while the second is on its way: that one's answer counts, and nobody is asked a third time.
func TestHedgeOutlivesTheFirst(t *testing.T) {
	w := newWorld(t)
	w.tiers(secretA, secretB, secretC)
	w.group(hedging)
	w.credit()
	first, second := fakellm.NewGate(), fakellm.NewGate()
	w.provider.SetBehaviour(secretA, fakellm.Behaviour{Hold: first, StatusCode: 500})
	w.provider.SetBehaviour(secretB, fakellm.Hang(second))
	answered := make(chan string, 1)
	go func() { answered <- w.post("/v1/chat/completions", plainBody) }()
	wait(t, "the first attempt is held", first.Entered())
	wait(t, "the second attempt is held", second.Entered())
	first.Open()
	time.Sleep(time.Second) // nothing tells from outside that the first one's failure has arrived
	second.Open()
	if answer := wait(t, "an answer", answered); status(answer) != "200" {
		t.Errorf("the answer is\n%s", answer)
	}
	w.settled(t)
	if d := cmp.Diff([]string{secretA, secretB}, w.served()); d != "" {
		t.Errorf("attempts (-want +got):\n%s", d)
	}
	if r := w.record(); r.AccountID != "a-b0" {
		t.Errorf("record = %+v", r)
	}
	if n := w.cell("acc-a0").Failures.Load(); n != 1 {
		t.Errorf("the first account has %d failures", n)
	}
}

// A client that leaves ends both attempts.
func TestHedgeHangUp(t *testing.T) {
	w := newWorld(t)
	w.tiers(secretA, secretB)
	w.group(hedging)
	w.credit()
	first, second := fakellm.NewGate(), fakellm.NewGate()
	w.provider.SetBehaviour(secretA, fakellm.Hang(first))
	w.provider.SetBehaviour(secretB, fakellm.Hang(second))
	c := w.dial()
	_, _ = io.WriteString(c, request("/v1/chat/completions", w.key, streamBody))
	wait(t, "the first attempt is held", first.Entered())
	wait(t, "the second attempt is held", second.Entered())
	_ = c.Close()
	wait(t, "the first is canceled", first.Canceled())
	wait(t, "the second is canceled", second.Canceled())
	w.settled(t)
	for _, name := range []string{"acc-a0", "acc-b0"} {
		if c := w.cell(name); c.InFlight.Load() != 0 || c.Failures.Load() != 0 {
			t.Errorf("%s: %d under way, %d failures for its client's", name, c.InFlight.Load(), c.Failures.Load())
		}
	}
	if n := len(w.books.all()); n != 1 {
		t.Errorf("%d records", n)
	}
}

// Many at once, of all kinds, with a deadline on top: every request gets its own answer, every record is there once, and
// nothing stays under way.
func TestHedgeMany(t *testing.T) {
	w := newWorld(t)
	ch := w.channel("b", 99, secretB)
	ch.ModelMapping["gpt-x"] = "gpt-y" // so that the two attempts send different bytes
	w.put(syncv1.Kind_KIND_CHANNEL, "c-b", ch)
	w.tiers(secretA)
	w.channel("c", 99, secretC)
	w.group(func(g *syncv1.GroupState) {
		hedging(g)
		g.HedgeAfter = durationpb.New(10 * time.Millisecond)
		g.TotalTimeout = durationpb.New(time.Minute)
	})
	w.provider.SetBehaviour(secretA, fakellm.Behaviour{Delay: 12 * time.Millisecond})
	w.provider.SetBehaviour(secretB, fakellm.Behaviour{Delay: 3 * time.Millisecond})
	w.provider.SetBehaviour(secretC, fakellm.Behaviour{Delay: 2 * time.Millisecond})
	const workers, each = 16, 12
	var running sync.WaitGroup
	for i := range workers {
		running.Go(func() {
			for j := range each {
				w.credit()
				words := strings.Repeat(" word", 1+(i*each+j)%50)
				body := fmt.Sprintf(`{"model":"gpt-x","stream":%v,"messages":[{"role":"user","content":"%s"}]}`, j%2 == 0, words[1:])
				if answer := w.post("/v1/chat/completions", body); status(answer) != "200" || !strings.Contains(answer, "provider.") {
					t.Errorf("the answer is\n%s", answer)
				}
			}
		})
	}
	running.Wait()
	w.settled(t)
	if n := len(w.books.all()); n != workers*each {
		t.Errorf("%d records, want %d", n, workers*each)
	}
	for _, name := range []string{"acc-a0", "acc-b0", "acc-c0"} {
		if c := w.cell(name); c.InFlight.Load() != 0 || c.Failures.Load() != 0 {
			t.Errorf("%s: %d under way, %d failures", name, c.InFlight.Load(), c.Failures.Load())
		}
	}
	if got := w.hedges(); got["won"] == 0 || got["won"]+got["lost"] == 0 {
		t.Errorf("nothing was hedged: %v", got)
	}
}
