package credential

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"fairway/controlplane/internal/store"
	"fairway/pkg/egress"
	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/testkit/etcdtest"
)

// Each method's endpoint accepts what it is sent, and proxies get the result and nothing of what it was made with.
func TestMethods(t *testing.T) {
	w := newWorld(t)
	r := w.replica()
	r.channel("vertex", resourcev1.Provider_PROVIDER_VERTEX, "global")
	r.channel("bedrock", resourcev1.Provider_PROVIDER_BEDROCK, "eu-west-3")
	r.account("g", "vertex", w.endpoint.keyFile("g@project-1.iam"), &resourcev1.Exchange{Method: google})
	r.account("e", "c", "secret of e", &resourcev1.Exchange{Method: entra, TenantId: "tenant", ClientId: "e"})
	r.account("b", "bedrock", "secret of AKIAb", &resourcev1.Exchange{Method: assume, Role: "arn:aws:iam::123456789012:role/b"})
	r.refreshed("o")
	r.account("plain", "c", "sk-plain", nil)
	before := r.built("e")
	if before.GetSecret() != "" || !before.GetExchanged() {
		t.Errorf("before the exchange proxies get %v", before)
	}
	r.lead()
	for name, want := range map[string]*syncv1.AccountState{
		"g":     {ChannelId: "id-vertex", Secret: "token-g@project-1.iam-1", Exchanged: true, Project: "project-1"},
		"e":     {ChannelId: "id-c", Secret: "token-e-1", Exchanged: true},
		"b":     {ChannelId: "id-bedrock", Secret: "token-b-1", Exchanged: true, AccessKeyId: "ASIA-b", SessionToken: "session-b"},
		"o":     {ChannelId: "id-c", Secret: "token-o-1", Exchanged: true},
		"plain": {ChannelId: "id-c", Secret: "sk-plain"},
	} {
		got := r.await(name, want.GetSecret())
		want.Name, want.Weight = name, 100
		if want.GetExchanged() {
			left := got.GetSecretExpireTime().AsTime().Sub(w.now())
			if left <= 0 || left > time.Hour {
				t.Errorf("%s: ends in %s", name, left)
			}
		}
		if d := cmp.Diff(want, got, protocmp.Transform(), protocmp.IgnoreFields(got, "secret_expire_time")); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	for _, method := range []string{"google_service_account", "entra_client_secret", "aws_assume_role", "oauth_refresh"} {
		if n := testutil.ToFloat64(r.exchanger.metrics.exchanges.WithLabelValues(method, "ok")); n != 1 {
			t.Errorf("%s: %v exchanges, want 1", method, n)
		}
	}
	w.until(func() string {
		families, err := r.registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "fairway_credential_earliest_expiry_seconds" {
				if left := f.GetMetric()[0].GetGauge().GetValue(); left > 3500 && left <= 3600 {
					return ""
				}
			}
		}
		return fmt.Sprintf("no metric of the earliest expiry in %v", families)
	})
	r.stop()
	if n, err := testutil.GatherAndCount(r.registry, "fairway_credential_earliest_expiry_seconds"); n != 0 || err != nil {
		t.Errorf("%d earliest expiries after the term (%v)", n, err)
	}
}

// However often the leadership moves, every credential is asked for once.
func TestOneOwnerAsks(t *testing.T) {
	w := newWorld(t)
	a, b := w.replica(), w.replica()
	const accounts = 12
	for i := range accounts {
		a.refreshed(fmt.Sprint("o", i))
	}
	a.lead()
	for turn := range 6 {
		leader, next := a, b
		if turn%2 == 1 {
			leader, next = b, a
		}
		if turn > 0 {
			for i := range accounts {
				leader.await(fmt.Sprint("o", i), fmt.Sprintf("token-o%d-1", i))
			}
		}
		next.lead() // it waits for the other to give up
		leader.stop()
	}
	for i := range accounts {
		name := fmt.Sprint("o", i)
		b.await(name, "token-"+name+"-1")
		if n := w.endpoint.count(name); n != 1 {
			t.Errorf("%s was exchanged %d times, want once", name, n)
		}
	}
	w.endpoint.locked(func() {
		if w.endpoint.asked != accounts {
			t.Errorf("the endpoint was asked %d times, want %d", w.endpoint.asked, accounts)
		}
	})
}

// The clock passes 80% of a token's life, is set back, and forth.
func TestRenewals(t *testing.T) {
	w := newWorld(t)
	r := w.replica().lead()
	r.account("e", "c", "secret of e", &resourcev1.Exchange{Method: entra, TenantId: "tenant", ClientId: "e"})
	first := r.await("e", "token-e-1")
	w.ahead.Add(int64(44 * time.Minute)) // 73%
	r.refreshed("o")                     // something else happens: the leader has looked
	r.await("o", "token-o-1")
	if n := w.endpoint.count("e"); n != 1 {
		t.Errorf("renewed %d times at 73%% of its life", n-1)
	}
	w.ahead.Add(int64(5 * time.Minute)) // 81%
	second := r.await("e", "token-e-2")
	if !second.GetSecretExpireTime().AsTime().After(first.GetSecretExpireTime().AsTime()) {
		t.Errorf("the second one ends at %v, the first at %v", second.GetSecretExpireTime().AsTime(), first.GetSecretExpireTime().AsTime())
	}
	w.ahead.Add(int64(-48 * time.Hour)) // nobody knows when what was issued the day after tomorrow ends
	r.await("e", "token-e-3")
	w.ahead.Add(int64(48 * time.Hour))
	r.await("e", "token-e-4")
}

// While the endpoint is down the credential that is there stays, and the first moment that it is up again is used.
func TestEndpointDown(t *testing.T) {
	w := newWorld(t)
	r := w.replica().lead()
	r.account("e", "c", "secret of e", &resourcev1.Exchange{Method: entra, TenantId: "tenant", ClientId: "e"})
	r.await("e", "token-e-1")
	w.endpoint.locked(func() { w.endpoint.status, w.endpoint.body = http.StatusServiceUnavailable, "busy %.0s" })
	w.ahead.Add(int64(50 * time.Minute))
	refused := r.exchanger.metrics.exchanges.WithLabelValues("entra_client_secret", "refused")
	w.until(func() string {
		if testutil.ToFloat64(refused) >= 3 {
			return ""
		}
		return "it was not tried three times"
	})
	if got := r.built("e").GetSecret(); got != "token-e-1" {
		t.Errorf("proxies get %q while the endpoint is down", got)
	}
	w.endpoint.locked(func() { w.endpoint.status = 0 })
	r.await("e", "token-e-2")
}

// A refresh token that works once, and whose successor works once: none is ever used twice, over many renewals, another
// leader, and a store that fails in between.
func TestRotation(t *testing.T) {
	w := newWorld(t)
	flaky := &flakyStore{}
	a := w.replica(func(e *Exchanger) { flaky.Store = e.store; e.store = flaky }).lead()
	a.refreshed("o")
	for i := 1; i <= 5; i++ {
		a.await("o", fmt.Sprintf("token-o-%d", i))
		flaky.failing.Store(3) // the next three writes
		w.ahead.Add(int64(50 * time.Minute))
	}
	a.await("o", "token-o-6")
	if flaky.failed.Load() < 10 {
		t.Errorf("only %d writes failed: was the store in between?", flaky.failed.Load())
	}
	b := w.replica().lead()
	a.stop()
	w.ahead.Add(int64(50 * time.Minute))
	b.await("o", "token-o-7")
	w.endpoint.locked(func() {
		if w.endpoint.reused != 0 {
			t.Errorf("%d refresh tokens were used that had a successor", w.endpoint.reused)
		}
	})
	// An operator's new refresh token counts, whatever came of the old one.
	w.endpoint.locked(func() { w.endpoint.current["o"] = "refresh-by-hand" })
	old := b.stored("o")
	next := proto.CloneOf(old)
	next.Secret = w.seal("o", "refresh-by-hand")
	b.put(old, next)
	b.await("o", "token-o-8")
}

// flakyStore fails some writes: half of them before they happen, half after.
type flakyStore struct {
	Store
	failing, failed atomic.Int64
}

func (s *flakyStore) PutCredential(ctx context.Context, f store.Fence, c *resourcev1.Credential, before int64) (int64, error) {
	n := s.failing.Add(-1)
	if n < 0 {
		return s.Store.PutCredential(ctx, f, c, before)
	}
	s.failed.Add(1)
	if n == 0 {
		if _, err := s.Store.PutCredential(ctx, f, c, before); err != nil {
			return 0, err
		}
	}
	return 0, fault.New(fault.Deadline, "the answer was lost")
}

// The leader is stopped while the endpoint ponders: the answer is not lost, because the token that it was asked with is
// spent.
func TestStopWaitsForTheSuccessor(t *testing.T) {
	w := newWorld(t)
	hold := make(chan struct{})
	w.endpoint.locked(func() { w.endpoint.hold = hold })
	a, b := w.replica().lead(), w.replica()
	a.refreshed("o")
	<-w.endpoint.holding
	stopped := make(chan struct{})
	go func() { defer close(stopped); a.stop() }()
	w.until(func() string {
		if strings.Contains(w.log.String(), "credential exchanged") {
			t.Fatal("it was exchanged before the endpoint answered")
		}
		select {
		case <-stopped:
			t.Fatal("it stopped without the answer")
		default:
		}
		return ""
	})
	w.endpoint.locked(func() { w.endpoint.hold = nil })
	close(hold)
	<-stopped
	b.lead()
	b.await("o", "token-o-1")
	w.ahead.Add(int64(50 * time.Minute))
	b.await("o", "token-o-2")
	w.endpoint.locked(func() {
		if w.endpoint.reused != 0 {
			t.Errorf("%d spent refresh tokens were used", w.endpoint.reused)
		}
	})
}

// Accounts change under the leader: its credentials follow.
func TestAccountsChange(t *testing.T) {
	w := newWorld(t)
	r := w.replica().lead()
	r.account("e", "c", "secret of e", &resourcev1.Exchange{Method: entra, TenantId: "tenant", ClientId: "e"})
	r.account("f", "c", "secret of f", &resourcev1.Exchange{Method: entra, TenantId: "tenant", ClientId: "f"})
	r.await("e", "token-e-1")
	r.await("f", "token-f-1")
	change := func(name string, with func(*resourcev1.Account)) {
		t.Helper()
		old := r.stored(name)
		next := proto.CloneOf(old)
		with(next)
		r.put(old, next)
	}
	change("e", func(a *resourcev1.Account) { a.Secret = w.seal("e", "other") })
	r.await("e", "token-other-1")
	change("e", func(a *resourcev1.Account) { a.Weight = 7 })
	change("e", func(a *resourcev1.Account) { a.Disabled = true })
	// Changes are seen in order: what follows the disabling shows that it was seen.
	change("f", func(a *resourcev1.Account) { a.Secret, a.Exchange.ClientId = w.seal("f", "secret of g"), "g" })
	r.await("f", "token-g-1")
	w.ahead.Add(int64(2 * time.Hour))
	r.await("f", "token-g-2")
	if n := w.endpoint.count("other"); n != 1 {
		t.Errorf("a disabled account was exchanged %d times", n-1)
	}
	change("e", func(a *resourcev1.Account) { a.Disabled = false })
	r.await("e", "token-other-2")

	change("e", func(a *resourcev1.Account) { a.Exchange = nil })
	if got := r.await("e", "other"); got.GetExchanged() || got.GetSecretExpireTime() != nil {
		t.Errorf("without an exchange proxies get %v", got)
	}
	if _, err := r.store.Commit(w.soon(), store.Write{Deletes: []store.Delete{{Resource: r.stored("f")}}}); err != nil {
		t.Fatal(err)
	}
	w.until(func() string {
		for k := range etcdtest.Dump(t, w.etcd) {
			if strings.Contains(k, "/r/credential/") {
				return k + " is left over"
			}
		}
		return ""
	})
}

// What was secret is found nowhere: not in the log, although the endpoint repeats everything, and not in etcd.
func TestNothingSecretIsLeft(t *testing.T) {
	w := newWorld(t)
	r := w.replica().lead()
	r.refreshed("o")
	r.account("e", "c", "secret of e", &resourcev1.Exchange{Method: entra, TenantId: "tenant", ClientId: "e"})
	r.await("o", "token-o-1")
	r.await("e", "token-e-1")
	w.endpoint.locked(func() {
		w.endpoint.status, w.endpoint.body = http.StatusBadRequest, `{"error":"invalid_grant","error_description":"you sent %[1]s","%[1]s":"%[1]s"}`
	})
	w.ahead.Add(int64(50 * time.Minute))
	w.until(func() string {
		if strings.Count(w.log.String(), "answered 400 invalid_grant") >= 2 {
			return ""
		}
		return "no refusal in the log"
	})
	w.endpoint.locked(func() { w.endpoint.body, w.endpoint.asked = `{"error":"%[1]s"}`, 0 })
	w.until(func() (why string) {
		w.endpoint.locked(func() {
			if w.endpoint.asked < 4 { // the log has the first of each account by then
				why = "the endpoint was not asked again"
			}
		})
		return why
	})
	secrets := []string{"refresh-o-0", "refresh-o-1", "token-o-1", "token-e-1", "secret of e", "secret+of+e"}
	dump := etcdtest.Dump(t, w.etcd)
	texts := map[string]string{"the log": w.log.String()}
	found := 0
	for k, v := range dump {
		texts["etcd at "+k] = v
		if strings.Contains(k, "/r/credential/") {
			found++
		}
		if strings.Contains(k, "/audit/") && strings.Contains(v, "credential") {
			t.Errorf("an exchange is in the audit trail: %s", k)
		}
	}
	if found != 2 {
		t.Fatalf("etcd holds %d credentials, want 2", found)
	}
	for place, text := range texts {
		for _, s := range secrets {
			if strings.Contains(text, s) || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte(s))) {
				t.Errorf("%s holds %q", place, s)
			}
		}
	}
}

// A credential goes where the operator said and nowhere else.
func TestWhereCredentialsGo(t *testing.T) {
	w := newWorld(t)
	r := w.replica()
	strict := New(nil, w.ring, Options{Now: w.now})
	ask := func(x *Exchanger, url string, change func(*resourcev1.Account)) error {
		a := &resourcev1.Account{Metadata: &resourcev1.Metadata{Id: "id-e", Name: "e"}, Exchange: &resourcev1.Exchange{
			Method: entra, TokenUrl: url, ClientId: "e",
		}, Secret: w.seal("e", "secret of e")}
		if change != nil {
			change(a)
		}
		_, err := x.request(t.Context(), ask{id: "id-e", account: a}, secrets{secret: "secret of e", proxy: "user:pass word"})
		return err
	}
	if err := ask(r.exchanger, w.endpoint.url+"/entra", nil); err != nil {
		t.Errorf("an allowed address: %v", err)
	}
	for name, url := range map[string]string{
		"a private address": w.endpoint.url + "/entra", "by name": strings.Replace(w.endpoint.url, "127.0.0.1", "localhost", 1) + "/entra",
	} {
		if err := ask(strict, url, nil); !errors.Is(err, egress.ErrRefused) {
			t.Errorf("%s: error = %v, want %v", name, err, egress.ErrRefused)
		}
	}
	before := w.endpoint.count("e")
	err := ask(r.exchanger, w.endpoint.url+"/elsewhere", nil)
	if refused, ok := errors.AsType[*refusal](err); !ok || refused.status != http.StatusTemporaryRedirect {
		t.Errorf("a redirect: error = %v", err)
	}
	if n := w.endpoint.count("e"); n != before {
		t.Error("a redirect was followed")
	}

	// The account's proxy sees the request, with its own credential.
	var through, user atomic.Pointer[string]
	proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		target, sent := req.URL.String(), req.Header.Get("Proxy-Authorization")
		through.Store(&target)
		user.Store(&sent)
		_, _ = rw.Write([]byte(`{"access_token":"by-proxy","expires_in":"3599"}`))
	}))
	defer proxy.Close()
	if err := ask(r.exchanger, "http://tokens.example/entra", func(a *resourcev1.Account) { a.ProxyUrl = proxy.URL }); err != nil {
		t.Fatal(err)
	}
	if got := *through.Load(); got != "http://tokens.example/entra" {
		t.Errorf("the proxy was asked for %q", got)
	}
	if got, want := *user.Load(), "Basic "+base64.StdEncoding.EncodeToString([]byte("user:pass word")); got != want {
		t.Errorf("the proxy got %q, want %q", got, want)
	}
}

// Two terms at once would ask twice.
func TestLeadsOnce(t *testing.T) {
	w := newWorld(t)
	r := w.replica().lead()
	r.refreshed("o")
	r.await("o", "token-o-1")
	if err := r.exchanger.Lead(t.Context(), store.Fence{}); fault.KindOf(err) != fault.Internal {
		t.Errorf("a second term: %v", err)
	}
}
