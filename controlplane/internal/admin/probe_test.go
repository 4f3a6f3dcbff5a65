package admin

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// keyFile is a service account's that passes, with a text in it that must not come out.
func keyFile(t *testing.T, canary string) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.MarshalIndent(map[string]string{
		"type": "service_account", "client_email": "e@p.iam", "project_id": canary, "private_key_id": "k", "token_uri": "https://oauth2.googleapis.com/token",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// exchange stores, as the leader does, what an account's exchange gave.
func exchange(t *testing.T, w *world, account, token string) *resourcev1.Credential {
	t.Helper()
	r, ok := w.store.State().ByName(model.KindAccount, account)
	if !ok {
		t.Fatalf("there is no account %s", account)
	}
	id := r.GetMetadata().GetId()
	sealed, err := w.service.sealer.Seal([]byte(token), "credential", id, "secret")
	if err != nil {
		t.Fatal(err)
	}
	c := &resourcev1.Credential{
		Metadata: &resourcev1.Metadata{Id: id, Name: id}, Source: model.CredentialSource(r.(*resourcev1.Account)), Secret: sealed,
		IssueTime: timestamppb.Now(), ExpireTime: timestamppb.New(time.Now().Add(time.Hour)),
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var revision int64
	if err := w.store.Lead(ctx, "test", "t", func(ctx context.Context, f store.Fence) error {
		defer cancel()
		revision, err = w.store.PutCredential(ctx, f, c, 0)
		return err
	}); err != nil || revision == 0 {
		t.Fatalf("credential not stored: %v", err)
	}
	if err := w.store.WaitRevision(t.Context(), revision); err != nil {
		t.Fatal(err)
	}
	w.service.prober = proberFunc(func(context.Context, string, string) ProbeResult { return ProbeResult{OK: true} })
	return c
}

type proberFunc func(ctx context.Context, accountID, model string) ProbeResult

func (f proberFunc) Probe(ctx context.Context, accountID, model string) ProbeResult {
	return f(ctx, accountID, model)
}

func TestTestChannel(t *testing.T) {
	w := newWorld(t)
	c := w.as(w.owner)
	ch := goodChannel("c1")
	ch.Models, ch.ModelMapping, ch.TestModel = []string{"m", "n"}, map[string]string{"n": "x", "x": "upstream"}, "n"
	vertex := &resourcev1.Exchange{Method: resourcev1.ExchangeMethod_EXCHANGE_METHOD_OAUTH_REFRESH, TokenUrl: "https://auth.example/token"}
	if _, err := c.channels.CreateChannel(t.Context(), &adminv1.CreateChannelRequest{Channel: ch, Accounts: []*resourcev1.Account{
		{Metadata: named("b"), Secret: hidden("sk-b")}, {Metadata: named("a"), Secret: hidden("sk-a")},
		{Metadata: named("off"), Secret: hidden("sk-off"), Disabled: true}, {Metadata: named("x"), Secret: hidden("refresh"), Exchange: vertex},
	}}); err != nil {
		t.Fatal(err)
	}
	test := func(req *adminv1.TestChannelRequest) (*adminv1.TestChannelResponse, error) {
		return c.diagnostics.TestChannel(t.Context(), req)
	}
	_, err := test(&adminv1.TestChannelRequest{Channel: "c1"})
	wantCode(t, err, connect.CodeUnimplemented)

	a, ok := w.store.State().ByName(model.KindAccount, "a")
	if !ok {
		t.Fatal("no account a")
	}
	w.service.prober = proberFunc(func(ctx context.Context, id, m string) ProbeResult {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("a probe without an end")
		}
		if id == a.GetMetadata().GetId() {
			return ProbeResult{OK: true, Status: http.StatusOK, Latency: time.Second, Detail: m}
		}
		return ProbeResult{Cause: adminv1.AccountTest_CAUSE_QUOTA, Status: http.StatusTooManyRequests, Detail: "no quota is left"}
	})
	got, err := test(&adminv1.TestChannelRequest{Channel: "c1"})
	if err != nil {
		t.Fatal(err)
	}
	want := &adminv1.TestChannelResponse{UpstreamModel: "upstream", Results: []*adminv1.AccountTest{
		{Account: "a", Ok: true, HttpStatus: 200, Latency: durationpb.New(time.Second), Detail: "n"},
		{Account: "b", Cause: adminv1.AccountTest_CAUSE_QUOTA, HttpStatus: 429, Latency: durationpb.New(0), Detail: "no quota is left"},
		{Account: "x", Cause: adminv1.AccountTest_CAUSE_CREDENTIAL, Detail: "its credential was not exchanged yet; the control plane's log says why"},
	}}
	if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	one, err := test(&adminv1.TestChannelRequest{Channel: "c1", Account: "off", Model: "m"})
	if err != nil || len(one.GetResults()) != 1 || one.GetResults()[0].GetAccount() != "off" || one.GetUpstreamModel() != "m" {
		t.Errorf("one account, one model: %v, %v", one, err)
	}
	for name, tt := range map[string]struct {
		req  *adminv1.TestChannelRequest
		code connect.Code
	}{
		"no channel":    {&adminv1.TestChannelRequest{Channel: "none"}, connect.CodeNotFound},
		"no account":    {&adminv1.TestChannelRequest{Channel: "c1", Account: "none"}, connect.CodeNotFound},
		"foreign model": {&adminv1.TestChannelRequest{Channel: "c1", Model: "upstream"}, connect.CodeInvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := test(tt.req)
			wantCode(t, err, tt.code)
		})
	}
	viewer, err := c.operators.CreateOperator(t.Context(), &adminv1.CreateOperatorRequest{
		Operator: &resourcev1.Operator{Metadata: named("v"), Role: resourcev1.Role_ROLE_VIEWER},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.as(viewer.GetToken()).diagnostics.TestChannel(t.Context(), &adminv1.TestChannelRequest{Channel: "c1"})
	wantCode(t, err, connect.CodePermissionDenied)
}

// An account without its credential serves nothing, and explain says so.
func TestExplainExchange(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	a := account("a", "c", func(a *resourcev1.Account) {
		a.Metadata.Id = "a1"
		a.Exchange = &resourcev1.Exchange{Method: resourcev1.ExchangeMethod_EXCHANGE_METHOD_OAUTH_REFRESH}
	})
	chain := channel("c", "m", func(c *resourcev1.Channel) {
		c.Metadata.Id = "c1"
		c.ModelMapping = map[string]string{"m": "n", "n": "o"}
	})
	for name, tt := range map[string]struct {
		c      *resourcev1.Credential
		reason string
	}{
		"none":  {nil, "not exchanged yet"},
		"valid": {&resourcev1.Credential{Source: model.CredentialSource(a), ExpireTime: timestamppb.New(now.Add(time.Second))}, ""},
		"ended": {&resourcev1.Credential{Source: model.CredentialSource(a), ExpireTime: timestamppb.New(now)}, "has ended"},
		"other": {&resourcev1.Credential{ExpireTime: timestamppb.New(now.Add(time.Second))}, "not exchanged yet"},
	} {
		changes := []model.Change{{Kind: model.KindChannel, ID: "c1", New: chain}, {Kind: model.KindAccount, ID: "a1", New: a}}
		if tt.c != nil {
			tt.c.Metadata = &resourcev1.Metadata{Id: "a1", Name: "a1"}
			changes = append(changes, model.Change{Kind: model.KindCredential, ID: "a1", New: tt.c})
		}
		got := explain(model.Empty("l").Apply(1, changes), &resourcev1.Key{Metadata: named("k")}, "m", now, nil)
		if got.GetServed() != (tt.reason == "") || !strings.Contains(strings.Join(got.GetCandidates()[0].GetReasons(), ";"), tt.reason) {
			t.Errorf("%s: %v", name, got)
		}
		if got.GetCandidates()[0].GetUpstreamModel() != "o" {
			t.Errorf("%s: asks for %q", name, got.GetCandidates()[0].GetUpstreamModel())
		}
	}
}
