package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairway/pkg/testkit/fakellm"
)

// allDown is a way for all of three accounts to fail.
type allDown struct {
	name    string
	fault   fakellm.Behaviour
	noPanic bool
	// code is what clients of OpenAI's dialect see once it is known how things are; the status is 503.
	code string
	// Whether the upstream is asked all the same: a breaker may be wrong, a provider's word is not.
	asked bool
	state string // of all accounts, before long
	least int    // seconds of Retry-After, from then on
}

// TestAllDown: with every account down there is one clear answer in the caller's dialect, and it says when to come back. No
// request asks more of the upstream than the policy allows, and none asks where that is of no use. An operator who knows
// better brings all of them back at once.
func TestAllDown(t *testing.T) {
	t.Parallel()
	in := up(t)
	in.must("settings", "set", "--consecutive-failures", "3", "--min-requests", "1000", "--wait")
	tests := []allDown{
		{name: "dead", fault: fakellm.Status(500, "", 0), code: "upstream_unavailable", asked: true, state: "open", least: 200},
		{name: "dead-no-panic", fault: fakellm.Status(500, "", 0), noPanic: true, code: "no_account_available", state: "open", least: 200},
		{name: "unreachable", fault: fakellm.CloseBeforeBytes(), code: "upstream_unavailable", asked: true, state: "open", least: 200},
		{name: "refused", fault: fakellm.Status(401, "invalid_api_key", 0), code: "no_account_available", state: "disabled", least: 200},
		{name: "limited", fault: fakellm.Status(429, "rate_limit_exceeded", time.Hour), code: "no_account_available", state: "open", least: 3000},
	}
	o := fakellm.Options{Accounts: map[string]fakellm.Behaviour{}, Models: []string{"m1"}}
	for _, tt := range tests {
		for i := range 3 {
			o.Accounts[(&outage{name: tt.name}).credential(i)] = fakellm.Healthy()
		}
	}
	fake, url := provider(t, o)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			mine := *in
			mine.t = t
			d := &darkness{survival: &survival{installation: &mine, outage: outage{name: tt.name, fault: tt.fault}, fake: fake, url: url}, allDown: tt}
			d.run(t)
		})
	}
	t.Run("a request that nobody knows", func(t *testing.T) {
		_, errs, err := in.run("", nil, "explain", "--request-id", "req_that_never_was")
		if exit(t, err, false); !strings.Contains(errs, "not_found") {
			t.Errorf("stderr says %q", errs)
		}
	})
}

// darkness is a time in which all accounts are down.
type darkness struct {
	*survival
	allDown allDown
	key     string
	asks    int
}

func (d *darkness) run(t *testing.T) {
	d.build()
	if d.allDown.noPanic {
		d.must("group", "update", "g-"+d.name, "--no-panic", "--wait")
	}
	d.key = d.installation.key("k-"+d.name, "--group", "g-"+d.name, "--debug-headers")
	d.traffic(t, true)
	for i := range 3 {
		d.fake.SetBehaviour(d.credential(i), d.fault)
	}
	eventually(t, "it is known that all are down", func() error {
		if a, _ := d.once(t); !d.clear(a) {
			return fmt.Errorf("a client sees %v", a)
		}
		return nil
	})
	eventually(t, "that is decided", func() error {
		d.once(t)
		all, err := d.accounts()
		for _, name := range d.names() {
			if err == nil && all[name].State != d.allDown.state {
				err = fmt.Errorf("%s is %+v", name, all[name])
			}
		}
		return err
	})
	d.must("group", "update", "g-"+d.name, "--description", "all proxies have what came before", "--wait")
	var last *asked
	for range 2 * len(ways()) {
		a, started := d.once(t)
		if !d.clear(a) {
			t.Errorf("a client sees %v", a)
		}
		if after, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || after < d.allDown.least {
			t.Errorf("it is told to come back after %d s, want %d at least: %v", after, d.allDown.least, a)
		}
		if (started > 0) != d.allDown.asked {
			t.Errorf("the upstream was asked %d times", started)
		}
		last = a
	}
	d.explained(t, last)
	d.traffic(t, false)
	for i := range 3 {
		d.fake.SetBehaviour(d.credential(i), fakellm.Healthy())
	}
	d.must(append([]string{"account", "reset", "--wait"}, d.names()...)...)
	d.traffic(t, true)
}

func (d *darkness) names() []string { return []string{d.name, d.name + "-1", d.name + "-2"} }

// once asks once, in another way each time, and returns how often the upstream was asked for it. Whatever the answer, it is
// an error in the client's dialect, and bounded work.
func (d *darkness) once(t *testing.T) (a *asked, started int64) {
	t.Helper()
	books := func() (n int64) {
		all := d.fake.Books().Credentials
		for i := range 3 {
			n += all[d.credential(i)].Started
		}
		return n
	}
	way := ways()[d.asks%len(ways())]
	d.asks++
	before := books()
	a = d.proxies[0].ask(t.Context(), http.DefaultClient, d.key, "m1", way.dialect, way.stream, fmt.Sprint("conversation ", d.asks))
	started = books() - before
	if a.err != nil || a.status < 429 || a.failure(a.body) == "" || a.header.Get("Retry-After") == "" {
		t.Errorf("no error in the client's dialect that says when to come back: %v", a)
	}
	// Three attempts by the settings, and a connection that breaks before its first byte is made anew once.
	if n, err := strconv.Atoi(a.header.Get("X-Fairway-Attempts")); err != nil || n > 3 || started > int64(2*n) {
		t.Errorf("%q attempts, the upstream was asked %d times", a.header.Get("X-Fairway-Attempts"), started)
	}
	return a, started
}

// clear says whether an answer is the one that all shall get.
func (d *darkness) clear(a *asked) bool {
	var got struct{ Error struct{ Type, Code string } }
	if json.Unmarshal([]byte(a.body), &got) != nil || a.status != http.StatusServiceUnavailable {
		return false
	}
	if a.dialect == "anthropic" {
		return got.Error.Type == "overloaded_error"
	}
	return got.Error.Code == d.allDown.code
}

// explained says that `fairway explain` tells why a request failed.
func (d *darkness) explained(t *testing.T, a *asked) {
	t.Helper()
	var got struct {
		Decision struct {
			Outcome    string
			Status     int
			Error      string
			Attempts   []struct{ Verdict string }
			Candidates []struct{ Account, Excluded string }
		}
	}
	out := d.must("explain", "--request-id", a.header.Get("X-Request-Id"), "-o", "json")
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("explain printed %q: %v", out, err)
	}
	g := got.Decision
	if g.Outcome != "failed" || g.Status != http.StatusServiceUnavailable || g.Error == "" || len(g.Candidates) != 3 || (len(g.Attempts) > 0) != d.allDown.asked {
		t.Errorf("a request that failed, explained: %s", out)
	}
	for _, c := range g.Candidates {
		if c.Excluded == "" {
			t.Errorf("nothing speaks against %s, says %s", c.Account, out)
		}
	}
}

// traffic is the verdict of `fairway verify traffic`, in words and as an exit code.
func (d *darkness) traffic(t *testing.T, passes bool) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(d.key), 0o600); err != nil {
		t.Fatal(err)
	}
	out, errs, err := d.installation.run("", nil, "verify", "traffic", "--model", "m1", "--url", "http://"+d.proxies[0].addr, "--key-file", file, "-n", "12", "--max-503", "0")
	exit(t, err, passes)
	want := "PASS"
	if !passes {
		want = "12 with 503 (100.00%)"
	}
	if !strings.Contains(out, want) || strings.Contains(out, "FAIL") == passes {
		t.Errorf("verify traffic says, instead of %s:\n%s%s", want, out, errs)
	}
}
