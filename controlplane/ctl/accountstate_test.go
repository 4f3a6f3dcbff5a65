package ctl

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func (w *world) hold(names ...string) {
	for _, n := range names {
		w.accounts[n] = &resourcev1.Account{Metadata: &resourcev1.Metadata{Name: n}, Channel: "c"}
	}
}

func TestAccountVerbs(t *testing.T) {
	resetOf := func(name string, enable bool) proto.Message {
		return &adminv1.ResetAccountRequest{Name: name, Enable: enable}
	}
	disable := func(name string) proto.Message {
		return &adminv1.UpdateAccountRequest{Account: &resourcev1.Account{Metadata: &resourcev1.Metadata{Name: name}, Disabled: true},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"disabled"}}}
	}
	tests := []struct {
		name    string
		args    []string
		asked   []proto.Message
		out     string
		wantErr string
	}{
		{"enable", []string{"enable", "a1"}, []proto.Message{resetOf("a1", true)}, "account a1 enabled\n", ""},
		{"reset", []string{"reset", "a1", "a2"}, []proto.Message{resetOf("a1", false), resetOf("a2", false)}, "account a1 reset\naccount a2 reset\n", ""},
		{"disable", []string{"disable", "a1"}, []proto.Message{disable("a1")}, "account a1 disabled\n", ""},
		{"each once", []string{"disable", "a1", "a1"}, []proto.Message{disable("a1")}, "account a1 disabled\n", ""},
		{"what fails is named", []string{"enable", "x", "a1", "y"}, []proto.Message{resetOf("x", true), resetOf("a1", true), resetOf("y", true)},
			"account a1 enabled\n", `account x: there is no account "x" (not_found); account y: there is no account "y" (not_found)`},
		{"wait for the last", []string{"enable", "a1", "a2", "--wait"},
			[]proto.Message{resetOf("a1", true), resetOf("a2", true), &adminv1.WaitForRevisionRequest{Revision: 2}},
			"account a1 enabled\naccount a2 enabled\n", ""},
		{"nothing to wait for", []string{"enable", "x", "--wait"}, []proto.Message{resetOf("x", true)}, "", `account x: there is no account "x" (not_found)`},
		{"no name", []string{"reset"}, nil, "", "requires at least 1 arg(s), only received 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.hold("a1", "a2")
			out, _, err := w.run(append([]string{"account"}, tt.args...)...)
			if got := said(err); got != tt.wantErr {
				t.Errorf("error = %q, want %q", got, tt.wantErr)
			}
			if d := cmp.Diff(tt.out, out); d != "" {
				t.Errorf("output (-want +got):\n%s", d)
			}
			if d := cmp.Diff(tt.asked, w.asked, protocmp.Transform(), protocmp.IgnoreFields(&adminv1.WaitForRevisionRequest{}, "timeout")); d != "" {
				t.Errorf("requests (-want +got):\n%s", d)
			}
		})
	}
}

// Doing it twice is not an error, and changes nothing.
func TestAccountVerbsTwice(t *testing.T) {
	for _, verb := range []string{"enable", "disable", "reset"} {
		w := newWorld(t)
		w.hold("a1")
		var states []*resourcev1.Account
		for range 2 {
			if _, _, err := w.run("account", verb, "a1"); err != nil {
				t.Fatalf("%s: %v", verb, err)
			}
			states = append(states, proto.Clone(w.accounts["a1"]).(*resourcev1.Account))
		}
		if d := cmp.Diff(states[0], states[1], protocmp.Transform()); d != "" {
			t.Errorf("%s (-first +second):\n%s", verb, d)
		}
		if got, want := states[1].GetDisabled(), verb == "disable"; got != want {
			t.Errorf("%s: disabled = %t", verb, got)
		}
	}
}

func TestAccountVerbsJSON(t *testing.T) {
	w := newWorld(t)
	w.hold("a1")
	out, _, err := w.run("account", "enable", "x", "a1", "-o", "json")
	if err == nil {
		t.Error("an account that is not there was enabled")
	}
	var got []struct {
		Name, Action string
		Revision     int64
		Account      struct {
			Health struct{ State, Reason string }
		}
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	if len(got) != 1 || got[0].Name != "a1" || got[0].Action != "enabled" || got[0].Revision != 2 || got[0].Account.Health.State != "closed" {
		t.Errorf("got %+v", got)
	}
	if out, _, _ := w.run("account", "enable", "x", "-o", "json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("of none: %q", out)
	}
}

// Names complete, those that are there already excepted.
func TestAccountVerbsComplete(t *testing.T) {
	w := newWorld(t)
	w.hold("a1", "a2", "a3")
	out, _, err := w.run("__complete", "account", "reset", "a2", "")
	if err != nil || !strings.HasPrefix(out, "a1\na3\n:4") {
		t.Errorf("completes to %q, %v", out, err)
	}
	if out, _, _ = w.run("__complete", "account", "get", "a2", ""); !strings.HasPrefix(out, ":4") {
		t.Errorf("get takes one name and completes a second: %q", out)
	}
}

func TestAccountHealth(t *testing.T) {
	const closed, open, half, disabled = resourcev1.HealthState_HEALTH_STATE_CLOSED, resourcev1.HealthState_HEALTH_STATE_OPEN,
		resourcev1.HealthState_HEALTH_STATE_HALF_OPEN, resourcev1.HealthState_HEALTH_STATE_DISABLED
	tests := []struct {
		name string
		in   *resourcev1.Account
		want string
	}{
		{"nothing was ever decided", &resourcev1.Account{}, "closed - -"},
		{"reset", &resourcev1.Account{Health: &resourcev1.AccountHealth{State: closed, Reason: "reset"}}, "closed reset -"},
		{"rests", &resourcev1.Account{Health: &resourcev1.AccountHealth{State: open, Reason: "rate_limit", Until: afterNoon(90*time.Second + 1)}}, "open rate_limit 1m31s"},
		{"is due", &resourcev1.Account{Health: &resourcev1.AccountHealth{State: open, Reason: "rate_limit", Until: afterNoon(-time.Second)}}, "open rate_limit now"},
		{"half open", &resourcev1.Account{Health: &resourcev1.AccountHealth{State: half, Reason: "errors", Until: afterNoon(time.Second)}}, "half_open errors -"},
		{"refused", &resourcev1.Account{Health: &resourcev1.AccountHealth{State: disabled, Reason: "credential"}}, "disabled credential -"},
		{"by an operator", &resourcev1.Account{Disabled: true, Health: &resourcev1.AccountHealth{State: open, Reason: "errors", Until: afterNoon(time.Second)}}, "disabled operator -"},
		{"by both", &resourcev1.Account{Disabled: true, Health: &resourcev1.AccountHealth{State: disabled, Reason: "credential"}}, "disabled credential -"},
		{"unschedulable", &resourcev1.Account{Unschedulable: true}, "closed unschedulable -"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			state, reason, until := accountHealth(tt.in, noon)
			if got := strings.Join([]string{state, reason, until}, " "); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// The plain form of an account says how it is, and the declarative form does not: apply would be refused.
func TestAccountHealthPlain(t *testing.T) {
	a := &resourcev1.Account{Metadata: &resourcev1.Metadata{Name: "a"}, Health: &resourcev1.AccountHealth{
		State: resourcev1.HealthState_HEALTH_STATE_HALF_OPEN, Reason: "rate_limit", Until: afterNoon(time.Minute), Since: afterNoon(0), Opens: 2,
	}}
	want := map[string]any{
		"state": "half_open", "reason": "rate_limit", "until": "2026-03-01T12:01:00Z", "since": "2026-03-01T12:00:00Z", "opens": uint32(2),
	}
	if d := cmp.Diff(want, toPlain(a, false).(map[string]any)["health"]); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if got, ok := declare(accounts(), a)["health"]; ok {
		t.Errorf("the declarative form has %v", got)
	}
}

func said(err error) string {
	if err == nil {
		return ""
	}
	var e *exitError
	if errors.As(err, &e) {
		return e.Error()
	}
	return err.Error()
}
