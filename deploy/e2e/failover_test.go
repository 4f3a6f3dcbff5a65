package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fairway/pkg/testkit/fakellm"
)

// outage is a way for one of three accounts to fail, and what must come of it.
type outage struct {
	name     string
	provider string // "" = openai
	channels int    // over which the accounts are spread, the failing one in the first; 0 = 1
	args     []string
	fault    fakellm.Behaviour
	// What `fairway account list` shows of it. No state = a short rest, which only `fairway top` shows.
	state, reason string
	// How long its provider wants to be left alone; 0 = that is for the rules to say.
	asked time.Duration
	// What it takes to have it back when the fault is over: "" = time alone, or a command.
	back string
	// Streams that had begun are cut; nothing can be done about those.
	cuts bool
}

func outages(gate *fakellm.Gate) []outage {
	const day = 24 * time.Hour
	return []outage{
		{name: "500", fault: fakellm.Status(500, "", 0), state: "open", reason: "consecutive_failures"},
		{name: "500-two-channels", channels: 2, fault: fakellm.Status(500, "", 0), state: "open", reason: "consecutive_failures"},
		{name: "401", fault: fakellm.Status(401, "invalid_api_key", 0), state: "disabled", reason: "credential", back: "enable"},
		{name: "quota", fault: fakellm.Status(429, "insufficient_quota", 0), state: "disabled", reason: "quota", back: "reset"},
		{name: "429-for-a-day", fault: fakellm.Status(429, "rate_limit_exceeded", day), state: "open", reason: "rate_limit", asked: day, back: "reset"},
		{name: "429-for-a-moment", fault: fakellm.Status(429, "rate_limit_exceeded", 2*time.Second)},
		{name: "529", provider: "anthropic", fault: fakellm.Status(529, "overloaded_error", 0)},
		{
			name: "hang", args: []string{"--first-byte-timeout", "1s"}, fault: fakellm.Hang(gate),
			state: "open", reason: "consecutive_failures",
		},
		{name: "closed-before-a-byte", fault: fakellm.CloseBeforeBytes(), state: "open", reason: "consecutive_failures"},
		{name: "error-event-in-a-200", fault: fakellm.ErrorFirstEvent("server_error"), state: "open", reason: "consecutive_failures"},
		{name: "cut-mid-stream", fault: fakellm.DieMidStream(3, fakellm.RST), state: "open", cuts: true},
		{
			name: "cut-mid-stream-anthropic", provider: "anthropic", channels: 2, fault: fakellm.DieMidStream(4, fakellm.FIN),
			state: "open", cuts: true,
		},
	}
}

// quick are rules under which accounts fall and come back in seconds.
func (in *installation) quick() {
	in.t.Helper()
	in.must("settings", "set", "--open", "1s", "--max-open", "2s", "--slow-start", "1s", "--consecutive-failures", "3", "--window", "10s",
		"--min-requests", "1000", "--wait")
}

// accountHealth is what `fairway account list -o json` says of one account's health.
type accountHealth struct {
	State, Reason string
	Since, Until  time.Time
	Opens         int
}

// history is what was seen of all accounts' health, by name, the newest last.
type history struct {
	mu   sync.Mutex
	seen map[string][]accountHealth
}

// accounts returns the health of all accounts, by name.
func (in *installation) accounts() (map[string]accountHealth, error) {
	out, errs, err := in.run("", nil, "account", "list", "-o", "json")
	if err != nil {
		return nil, fmt.Errorf("account list: %w: %s", err, errs)
	}
	var got []struct {
		Metadata struct{ Name string }
		Health   accountHealth
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		return nil, fmt.Errorf("account list printed %q: %w", out, err)
	}
	all := map[string]accountHealth{}
	for _, a := range got {
		all[a.Metadata.Name] = a.Health
	}
	return all, nil
}

// watch follows the health of all accounts as operators see it, until the test ends.
func (in *installation) watch() *history {
	h := &history{seen: map[string][]accountHealth{}}
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			if all, err := in.accounts(); err != nil {
				in.t.Error(err)
			} else {
				h.add(all)
			}
			select {
			case <-end:
				return
			case <-time.After(200 * time.Millisecond):
			}
		}
	})
	in.t.Cleanup(func() {
		close(end)
		wg.Wait()
	})
	return h
}

func (h *history) add(all map[string]accountHealth) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, now := range all {
		if s := h.seen[name]; len(s) == 0 || s[len(s)-1] != now {
			h.seen[name] = append(s, now)
		}
	}
}

// wait returns the first health of an account, from the index on, that is as it should be, and the index after it.
func (h *history) wait(t testing.TB, name string, from int, what string, ok func(accountHealth) bool) (accountHealth, int) {
	t.Helper()
	var got accountHealth
	next := from
	eventually(t, name+" is "+what, func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		all := h.seen[name]
		for ; next < len(all); next++ {
			if ok(all[next]) {
				got = all[next]
				next++
				return nil
			}
		}
		return fmt.Errorf("it was %+v", all[min(from, len(all)):])
	})
	return got, next
}

// TestFailover: real processes, one of three accounts fails in every way that there is. Clients see nothing of it, but for
// streams that are cut on their way, which end as their dialect says; operators see it; and the account comes back.
func TestFailover(t *testing.T) {
	t.Parallel()
	in := up(t)
	in.addProxy()
	in.quick()
	gate := fakellm.NewGate()
	t.Cleanup(gate.Open)
	o := fakellm.Options{Accounts: map[string]fakellm.Behaviour{}, Models: []string{"m1"}}
	all := outages(gate)
	for _, one := range all {
		for i := range 3 {
			o.Accounts[one.credential(i)] = fakellm.Healthy()
		}
	}
	fake, url := provider(t, o)
	seen := in.watch()
	for _, one := range all {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			mine := *in
			mine.t = t
			s := &survival{installation: &mine, outage: one, fake: fake, url: url, gate: gate, seen: seen}
			s.run(t)
		})
	}
}

func (o *outage) credential(i int) string { return fmt.Sprintf("sk-%s-%d", o.name, i) }

// survival is one outage from before to after.
type survival struct {
	*installation
	outage
	fake *fakellm.Provider
	url  string
	gate *fakellm.Gate
	seen *history
	load *load
}

// sick is the account that fails: the first of the first channel, whose name it has.
func (s *survival) sick() string { return s.name }

func (s *survival) run(t *testing.T) {
	s.build()
	s.load = begin(t, s.proxies, s.key("k-"+s.name, "--group", "g-"+s.name, "--debug-headers"), "m1")
	for i := range 3 {
		s.serves(t, i, 3)
	}

	s.fake.SetBehaviour(s.credential(0), s.fault)
	at := s.falls(t)
	s.load.more(30)
	if s.asked > 0 || s.state == "disabled" {
		s.leftAlone(t)
	}

	s.fake.SetBehaviour(s.credential(0), fakellm.Healthy())
	if s.back != "" {
		s.bring(t)
	}
	if s.state != "" {
		s.seen.wait(t, s.sick(), at, "closed", func(h accountHealth) bool { return h.State == "closed" })
	}
	s.serves(t, 0, 5)
	s.load.stop()
	s.verdict(t)
}

// build makes a group, channels and accounts of the outage's own: outages share nothing but the processes.
func (s *survival) build() {
	s.must("group", "create", "g-"+s.name)
	channel := func(name string, i int) {
		provider := "openai"
		if s.provider != "" {
			provider = s.provider
		}
		args := append([]string{"channel", "create", name, "--provider", provider, "--base-url", s.url, "--models", "m1",
			"--group", "g-" + s.name, "--secret-env", "CRED"}, s.outage.args...)
		if out, errs, err := s.installation.run("", []string{"CRED=" + s.credential(i)}, args...); err != nil {
			s.t.Fatalf("channel create: %v\n%s%s", err, out, errs)
		}
	}
	account := func(name, channel string, i int) {
		if _, errs, err := s.installation.run(s.credential(i), nil, "account", "create", name, "--channel", channel, "--secret-stdin", "--wait"); err != nil {
			s.t.Fatalf("account create: %v %s", err, errs)
		}
	}
	channel(s.name, 0)
	if s.channels == 2 {
		channel(s.name+"-b", 1)
		account(s.name+"-b2", s.name+"-b", 2)
		return
	}
	account(s.name+"-1", s.name, 1)
	account(s.name+"-2", s.name, 2)
}

// serves waits until an account has answered some more.
func (s *survival) serves(t *testing.T, i int, n int64) {
	t.Helper()
	c := s.credential(i)
	from := s.fake.Books().Credentials[c].Finished
	eventually(t, c+" serves", func() error {
		if now := s.fake.Books().Credentials[c].Finished; now < from+n {
			return fmt.Errorf("%d answers since", now-from)
		}
		return nil
	})
}

// falls waits until operators can see what is wrong with the account.
func (s *survival) falls(t *testing.T) (at int) {
	if s.state == "" {
		eventually(t, "fairway top shows a rest", func() error { return s.rests() })
		return 0
	}
	h, at := s.seen.wait(t, s.sick(), 0, s.state, func(h accountHealth) bool {
		// A rest of two seconds may be over before anybody looked.
		over := s.state == "open" && h.State == "half_open"
		return (h.State == s.state || over) && (s.reason == "" || h.Reason == s.reason)
	})
	switch {
	case h.Since.IsZero():
		t.Errorf("nobody knows since when: %+v", h)
	case s.state == "disabled" && !h.Until.IsZero():
		t.Errorf("it is disabled until a time: %+v", h)
	case s.asked > 0 && h.State == "open" && (h.Until.Sub(h.Since) > s.asked+time.Second || h.Until.Sub(h.Since) < s.asked-time.Minute):
		t.Errorf("it rests for %v, its provider asked for %v", h.Until.Sub(h.Since), s.asked)
	case s.state == "open" && (h.Opens < 1 || h.State == "open" && !h.Until.After(h.Since)):
		t.Errorf("an open breaker is %+v", h)
	}
	return at
}

// view is what `fairway top --once -o json` says, as far as it is looked at.
type view struct {
	Health struct {
		Leader  string
		Proxies []struct {
			ID       string
			Requests float64
		}
		Accounts []accountView
	}
}

type accountView struct {
	Name     string
	Health   accountHealth
	OK       float64
	Families map[string]string `json:"resting_families"`
}

func (in *installation) top() (*view, error) {
	out, errs, err := in.run("", nil, "top", "--once", "-o", "json")
	if err != nil {
		return nil, fmt.Errorf("top: %w: %s", err, errs)
	}
	v := &view{}
	if err := json.Unmarshal([]byte(out), v); err != nil {
		return nil, fmt.Errorf("top printed %q: %w", out, err)
	}
	return v, nil
}

func (v *view) account(name string) accountView {
	for _, a := range v.Health.Accounts {
		if a.Name == name {
			return a
		}
	}
	return accountView{}
}

// rests says what is missing for a short rest to be seen.
func (s *survival) rests() error {
	v, err := s.top()
	if err != nil {
		return err
	}
	a := v.account(s.sick())
	if len(a.Families) > 0 || a.Health.State == "open" && a.Health.Reason == "rate_limit" && !a.Health.Until.IsZero() {
		return nil
	}
	return fmt.Errorf("it shows %+v", a)
}

// leftAlone says that nobody asks the account for anything once all proxies know.
func (s *survival) leftAlone(t *testing.T) {
	s.must("group", "update", "g-"+s.name, "--description", "all proxies have what came before", "--wait")
	c := s.credential(0)
	before := s.fake.Books().Credentials[c].Started
	s.load.more(30)
	if n := s.fake.Books().Credentials[c].Started - before; n != 0 {
		t.Errorf("%d requests went to an account that must be left alone", n)
	}
}

// bring has an operator bring the account back, and finds that in the audit log.
func (s *survival) bring(t *testing.T) {
	s.must("account", s.back, s.sick(), "--wait")
	out := s.must("audit", "-o", "json", "--name", s.sick(), "--operator", "owner", "--limit", "0")
	var records []struct {
		Operator, Action, Kind, Procedure string
		ResourceName                      string `json:"resource_name"`
	}
	if err := json.Unmarshal([]byte(out), &records); err != nil {
		t.Fatalf("audit printed %q: %v", out, err)
	}
	for _, r := range records {
		if strings.HasSuffix(r.Procedure, "/ResetAccount") && r.ResourceName == s.sick() {
			return
		}
	}
	t.Errorf("nobody brought %s back, says the audit log: %s", s.sick(), out)
}

// verdict says what clients saw, and that the story of a request that moved on can be told.
func (s *survival) verdict(t *testing.T) {
	bad, cuts := s.load.failures()
	for _, a := range bad {
		t.Errorf("a client saw %v", a)
	}
	if !s.cuts && len(cuts) > 0 || s.cuts && len(cuts) == 0 {
		t.Errorf("%d streams were cut, such as %v", len(cuts), cuts[:min(len(cuts), 1)])
	}
	t.Logf("%d requests, %d failed, %d streams cut", s.load.made.Load(), len(bad), len(cuts))
	moved := s.load.failedOver()
	// On a machine that is slow, a healthy account may be too late as well: one that moved on from the sick one is looked for.
	told := slices.ContainsFunc(moved, func(a *asked) bool { return s.tells(t, a) })
	if !told {
		t.Errorf("of %d requests that moved on to another account, none is said to have come from %s", len(moved), s.sick())
	}
}

// tells says that `fairway explain` knows how a request came to its answer, and that it came from the sick account.
func (s *survival) tells(t *testing.T, a *asked) bool {
	t.Helper()
	var got struct {
		Decision struct {
			Outcome  string
			Proxy    string
			Attempts []struct{ Account, Verdict, Picked string }
		}
	}
	out := s.must("explain", "--request-id", a.header.Get("X-Request-Id"), "-o", "json")
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("explain printed %q: %v", out, err)
	}
	tried := got.Decision.Attempts
	if got.Decision.Outcome != "served" || got.Decision.Proxy == "" || len(tried) < 2 {
		t.Fatalf("a request that moved on, explained: %s", out)
	}
	first, last := tried[0], tried[len(tried)-1]
	if first.Account != s.sick() {
		return false
	}
	if first.Verdict == "" || last.Verdict != "" || last.Account == s.sick() {
		t.Errorf("its attempts: %+v", tried)
	}
	return true
}
