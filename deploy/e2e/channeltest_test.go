package e2e

import (
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairway/pkg/testkit/fakellm"
)

// accountTest is what `fairway channel test -o json` prints for an account.
type accountTest struct {
	Account    string
	OK         bool
	Cause      string
	Detail     string
	HTTPStatus int `json:"http_status"`
}

// TestChannelTest: an operator who made a mistake reads in one line which one, and a script sees it in the exit code.
func TestChannelTest(t *testing.T) {
	in := up(t)
	_, url := lenientProvider(t, fakellm.Options{
		Accounts: map[string]fakellm.Behaviour{
			"sk-good": fakellm.Healthy(), "sk-spent": fakellm.Status(429, "insufficient_quota", 0), "sk-down": fakellm.Status(503, "", 0),
		},
		Models: []string{"m1"},
	})
	nobody := "http://" + freePorts(t, 1)[0]
	tests := []struct {
		name, url, credential, model string
		want                         accountTest
		says                         string // part of the detail
	}{
		{"good", url, "sk-good", "m1", accountTest{OK: true, Cause: "unspecified", HTTPStatus: 200}, ""},
		{"wrong-key", url, "sk-wrong", "m1", accountTest{Cause: "credential", HTTPStatus: 401}, "API key"},
		{"wrong-path", url + "/elsewhere", "sk-good", "m1", accountTest{Cause: "url", HTTPStatus: 404}, "request URL"},
		{"wrong-port", nobody, "sk-good", "m1", accountTest{Cause: "url"}, "refused"},
		{"wrong-model", url, "sk-good", "m2", accountTest{Cause: "model", HTTPStatus: 404}, "m2"},
		{"spent", url, "sk-spent", "m1", accountTest{Cause: "quota", HTTPStatus: 429}, "quota"},
		{"down", url, "sk-down", "m1", accountTest{Cause: "upstream", HTTPStatus: 503}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in.channel(tt.name, tt.url, tt.credential, tt.model, "--wait")
			out, errs, err := in.run("", nil, "channel", "test", tt.name)
			exit(t, err, tt.want.OK)
			lines := strings.Split(strings.TrimSpace(out), "\n")
			if len(lines) != 3 || lines[0] != "asked for "+tt.model || !strings.HasPrefix(strings.ToLower(lines[1]), "account") {
				t.Fatalf("not one line for the account:\n%s%s", out, errs)
			}
			verdict := tt.want.Cause
			if tt.want.OK {
				verdict = "ok"
			}
			if f := strings.Fields(lines[2]); len(f) < 4 || f[0] != tt.name || f[1] != verdict || !strings.Contains(lines[2], tt.says) {
				t.Errorf("the line says %q, want %s and %q", lines[2], verdict, tt.says)
			}
			if want := "1 of 1 accounts failed"; strings.Contains(errs, want) == tt.want.OK {
				t.Errorf("stderr says %q", errs)
			}

			out, errs, err = in.run("", nil, "channel", "test", tt.name, "-o", "json")
			exit(t, err, tt.want.OK)
			var got struct {
				Results       []accountTest
				UpstreamModel string `json:"upstream_model"`
			}
			if err := json.Unmarshal([]byte(out), &got); err != nil || len(got.Results) != 1 || got.UpstreamModel != tt.model {
				t.Fatalf("-o json prints %q, %q (%v)", out, errs, err)
			}
			r := got.Results[0]
			if !strings.Contains(r.Detail, tt.says) || strings.Contains(r.Detail, "\n") {
				t.Errorf("detail = %q, want one line with %q", r.Detail, tt.says)
			}
			want := tt.want
			want.Account, want.Detail = tt.name, r.Detail
			if d := cmp.Diff(want, r); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if said := out + errs; strings.Contains(said, tt.credential) {
				t.Errorf("the credential is shown: %s", said)
			}
		})
	}

	t.Run("one of two accounts", func(t *testing.T) {
		if _, errs, err := in.run("sk-wrong", nil, "account", "create", "good-2", "--channel", "good", "--secret-stdin", "--wait"); err != nil {
			t.Fatalf("account create: %v %s", err, errs)
		}
		out, errs, err := in.run("", nil, "channel", "test", "good")
		if exit(t, err, false); strings.Count(out, "\n") != 4 || !strings.Contains(errs, "1 of 2 accounts failed") {
			t.Errorf("two accounts:\n%s%s", out, errs)
		}
		_, _, err = in.run("", nil, "channel", "test", "good", "--account", "good")
		exit(t, err, true)
	})
	t.Run("nothing to test", func(t *testing.T) {
		_, errs, err := in.run("", nil, "channel", "test", "absent")
		if exit(t, err, false); !strings.Contains(errs, "absent") {
			t.Errorf("stderr says %q", errs)
		}
	})
}

// exit checks a command's exit code: 0, or 1.
func exit(t *testing.T, err error, ok bool) {
	t.Helper()
	want, got := 1, 0
	if ok {
		want = 0
	}
	if err != nil {
		failed := &exec.ExitError{}
		if !errors.As(err, &failed) {
			t.Fatal(err)
		}
		got = failed.ExitCode()
	}
	if got != want {
		t.Errorf("exit code %d, want %d", got, want)
	}
}
