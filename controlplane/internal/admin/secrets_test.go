package admin

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"fairway/controlplane/internal/model"
	"fairway/pkg/clientkey"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/secret"
	"fairway/pkg/testkit/etcdtest"
)

func hidden(value string) *resourcev1.Secret { return &resourcev1.Secret{Value: value} }

// find returns where any of the values, raw or in a usual encoding, occurs in text; empty when nowhere.
func find(text string, values map[string]string) string {
	for name, v := range values {
		for encoding, form := range map[string]string{
			"": v, " in base64": base64.StdEncoding.EncodeToString([]byte(v)), " in base64url": base64.RawURLEncoding.EncodeToString([]byte(v)),
			" in hex": hex.EncodeToString([]byte(v)),
		} {
			if i := strings.Index(text, strings.TrimRight(form, "=")); i >= 0 {
				return fmt.Sprintf("%s%s: …%.60q…", name, encoding, text[max(0, i-20):])
			}
		}
	}
	return ""
}

// Secrets are planted wherever the API takes or makes one, everything that reads is called, in every protocol, and a few
// calls fail on purpose. Afterwards every byte that the server sent, every log line and every value in etcd is searched.
func TestNoSecretComesOut(t *testing.T) {
	w := newWorld(t)
	c := w.as(w.owner)
	const canary = "canary-3fA9-"
	planted := map[string]string{
		"first account's secret": canary + "first", "its new secret": canary + "second", "proxy secret": canary + "user:" + canary + "pw",
		"secret of an embedded account": canary + "embedded", "refused secret": canary + "re\x01fused", "malformed JSON": canary + "json",
		"key file": canary + "keyfile", "refused key file": canary + "badkeyfile", "exchanged token": canary + "exchanged",
		"secret of a refused proxy": canary + "nocolon", "wrong token": operator54(), "url credentials": canary + "urlpw",
	}

	made, err := c.channels.CreateChannel(t.Context(), &adminv1.CreateChannelRequest{
		Channel: goodChannel("c1"), Accounts: []*resourcev1.Account{{Metadata: named("e1"), Secret: hidden(planted["secret of an embedded account"])}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if s := made.GetAccounts()[0].GetSecret(); s.GetFingerprint() != secret.Fingerprint(planted["secret of an embedded account"]) {
		t.Errorf("fingerprint of the embedded account is %q", s.GetFingerprint())
	}
	_, err = c.accounts.CreateAccount(t.Context(), &adminv1.CreateAccountRequest{Account: &resourcev1.Account{
		Metadata: named("a1"), Channel: "c1", Secret: hidden(planted["first account's secret"]),
		ProxyUrl: "http://proxy.example:3128", ProxySecret: hidden(planted["proxy secret"]),
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = c.accounts.UpdateAccount(t.Context(), &adminv1.UpdateAccountRequest{
		Account: &resourcev1.Account{Metadata: named("a1"), Secret: hidden(planted["its new secret"])}, UpdateMask: mask("secret"),
	}); err != nil {
		t.Fatal(err)
	}

	// A service account, and what its exchange gave.
	if _, err := c.channels.CreateChannel(t.Context(), &adminv1.CreateChannelRequest{
		Channel: &resourcev1.Channel{Metadata: named("vertex"), Provider: resourcev1.Provider_PROVIDER_VERTEX, Region: "global", Models: []string{"m"}},
		Accounts: []*resourcev1.Account{{
			Metadata: named("sa"), Secret: hidden(keyFile(t, planted["key file"])),
			Exchange: &resourcev1.Exchange{Method: resourcev1.ExchangeMethod_EXCHANGE_METHOD_GOOGLE_SERVICE_ACCOUNT},
		}},
	}); err != nil {
		t.Fatal(err)
	}
	exchanged := exchange(t, w, "sa", planted["exchanged token"])

	// Once, and only in the reply to these calls, a secret is shown.
	before := len(w.replies.String())
	key, err := c.keys.CreateKey(t.Context(), &adminv1.CreateKeyRequest{Key: &resourcev1.Key{Metadata: named("k1"), Mac: []byte("forged")}})
	if err != nil || !clientkey.Valid(key.GetSecret()) {
		t.Fatalf("create key: %v, valid %v", err, clientkey.Valid(key.GetSecret()))
	}
	hired, err := c.operators.CreateOperator(t.Context(), &adminv1.CreateOperatorRequest{
		Operator: &resourcev1.Operator{Metadata: named("o1"), Role: resourcev1.Role_ROLE_VIEWER, TokenHash: []byte("forged")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.fleet.CreateJoinToken(t.Context(), &adminv1.CreateJoinTokenRequest{}); err != nil {
		t.Fatal(err)
	}
	shown := w.replies.String()[before:]
	planted["client key"], planted["operator token"], planted["owner token"] = key.GetSecret(), hired.GetToken(), w.owner
	for _, name := range []string{"client key", "operator token"} {
		if strings.Count(shown, planted[name]) != 1 {
			t.Errorf("the %s was shown %d times by its call; does the tap see the replies?", name, strings.Count(shown, planted[name]))
		}
	}
	mac := clientkey.NewHasher([]byte("pepper")).Sum([]byte(key.GetSecret()))
	stored, ok := w.store.State().ByName(model.KindKey, "k1")
	if k, isKey := stored.(*resourcev1.Key); !ok || !isKey || string(k.GetMac()) != string(mac[:]) {
		t.Error("the stored MAC is not that of the secret that was shown")
	}

	// Also hidden: what is kept of them.
	atRest := map[string]string{
		"join token's hash": "canary-join-hash", "key's MAC": string(mac[:]),
		"ciphertext of a credential": string(exchanged.GetSecret().GetCiphertext()),
	}
	for r := range w.store.State().All(model.KindOperator) {
		if o, ok := r.(*resourcev1.Operator); ok {
			atRest["token hash of "+o.GetMetadata().GetName()] = string(o.GetTokenHash())
		}
	}
	for r := range w.store.State().All(model.KindAccount) {
		if a, ok := r.(*resourcev1.Account); ok {
			atRest["ciphertext of "+a.GetMetadata().GetName()] = string(a.GetSecret().GetSealed().GetCiphertext())
			if a.GetSecret().GetValue() != "" || len(a.GetSecret().GetSealed().GetCiphertext()) == 0 {
				t.Errorf("account %s is not sealed", a.GetMetadata().GetName())
			}
		}
	}
	after := len(w.replies.String())

	readEverything(t, w)
	failOnPurpose(t, w, planted)

	replies := w.replies.String()
	if at := find(replies[:before]+replies[after:], planted); at != "" {
		t.Error("a reply holds the", at)
	}
	if at := find(replies, atRest); at != "" {
		t.Error("a reply holds the", at)
	}
	if at := find(w.log.String(), planted); at != "" {
		t.Error("the log holds the", at)
	}
	if at := find(w.log.String(), atRest); at != "" {
		t.Error("the log holds the", at)
	}
	if !strings.Contains(w.log.String(), "CreateKey") || !strings.Contains(w.log.String(), "call refused") {
		t.Error("the log does not show the calls: was the right one searched?")
	}
	dump := etcdtest.Dump(t, w.etcd)
	if len(dump) < 10 {
		t.Fatalf("etcd holds %d keys only", len(dump))
	}
	for k, v := range dump {
		if at := find(k+"\n"+v, planted); at != "" {
			t.Errorf("etcd holds at %s the %s", k, at)
		}
	}
}

// operator54 is a token that nobody holds.
func operator54() string { return "fwop-" + strings.Repeat("Zz9", 14) + "Q" }

// readEverything calls what lists and gets, in all protocols.
func readEverything(t *testing.T, w *world) {
	t.Helper()
	for _, options := range [][]connecthttp.Option{nil, {connecthttp.WithProtoJSON()}, {connecthttp.WithGRPC()}, {connecthttp.WithGRPCWeb()}} {
		c := w.as(w.owner, options...)
		ctx := t.Context()
		var errs []error
		try := func(_ any, err error) { errs = append(errs, err) }
		try(c.channels.GetChannel(ctx, &adminv1.GetChannelRequest{Name: "c1"}))
		try(c.channels.ListChannels(ctx, &adminv1.ListChannelsRequest{}))
		try(c.accounts.GetAccount(ctx, &adminv1.GetAccountRequest{Name: "a1"}))
		try(c.accounts.ListAccounts(ctx, &adminv1.ListAccountsRequest{OrderBy: "secret.fingerprint"}))
		try(c.accounts.UpdateAccount(ctx, &adminv1.UpdateAccountRequest{Account: &resourcev1.Account{Metadata: named("a1")}, UpdateMask: mask("weight")}))
		try(c.groups.ListGroups(ctx, &adminv1.ListGroupsRequest{}))
		try(c.keys.GetKey(ctx, &adminv1.GetKeyRequest{Name: "k1"}))
		try(c.keys.ListKeys(ctx, &adminv1.ListKeysRequest{Filter: `key.metadata.name != ""`, PageSize: 1}))
		try(c.keys.UpdateKey(ctx, &adminv1.UpdateKeyRequest{Key: &resourcev1.Key{Metadata: named("k1"), Clients: []string{fmt.Sprint(len(options))}}, UpdateMask: mask("clients")}))
		try(c.models.ListModels(ctx, &adminv1.ListModelsRequest{}))
		try(c.operators.GetOperator(ctx, &adminv1.GetOperatorRequest{Name: "o1"}))
		try(c.operators.ListOperators(ctx, &adminv1.ListOperatorsRequest{}))
		try(c.operators.UpdateOperator(ctx, &adminv1.UpdateOperatorRequest{Operator: &resourcev1.Operator{Metadata: named("o1"), Role: resourcev1.Role_ROLE_OPERATOR}, UpdateMask: mask("role")}))
		try(c.settings.GetSettings(ctx, &adminv1.GetSettingsRequest{}))
		try(c.fleet.GetStatus(ctx, &adminv1.GetStatusRequest{}))
		try(c.fleet.ListJoinTokens(ctx, &adminv1.ListJoinTokensRequest{}))
		try(c.usage.QueryUsage(ctx, &adminv1.QueryUsageRequest{}))
		try(c.audit.ListAuditRecords(ctx, &adminv1.ListAuditRecordsRequest{}))
		try(c.diagnostics.TestChannel(ctx, &adminv1.TestChannelRequest{Channel: "vertex"}))
		try(c.channels.ListChannels(ctx, &adminv1.ListChannelsRequest{Filter: `channel.provider == 6 && channel.region == "global"`}))
		try(c.accounts.ListAccounts(ctx, &adminv1.ListAccountsRequest{Filter: `account.exchange.method == 1`, OrderBy: "exchange.method desc"}))
		try(c.diagnostics.Explain(ctx, &adminv1.ExplainRequest{Key: "k1", Model: "m"}))
		if err := errors.Join(errs...); err != nil {
			t.Fatalf("read: %v", err)
		}
	}
}

// failOnPurpose makes calls fail with secrets in their requests.
func failOnPurpose(t *testing.T, w *world, planted map[string]string) {
	t.Helper()
	c := w.as(w.owner)
	refuse := func(code connect.Code, err error) {
		t.Helper()
		wantCode(t, err, code)
	}
	for _, value := range []string{planted["refused secret"], planted["first account's secret"] + strings.Repeat("x", 9000)} {
		_, err := c.accounts.CreateAccount(t.Context(), &adminv1.CreateAccountRequest{
			Account: &resourcev1.Account{Metadata: named("a2"), Channel: "c1", Secret: hidden(value)},
		})
		refuse(connect.CodeInvalidArgument, err)
		_, err = c.accounts.UpdateAccount(t.Context(), &adminv1.UpdateAccountRequest{
			Account: &resourcev1.Account{Metadata: named("a1"), Secret: hidden(value)}, UpdateMask: mask("secret.value"),
		})
		refuse(connect.CodeInvalidArgument, err)
	}
	_, err := c.accounts.CreateAccount(t.Context(), &adminv1.CreateAccountRequest{
		Account: &resourcev1.Account{Metadata: named("a1"), Channel: "c1", Secret: hidden(planted["first account's secret"])},
	})
	refuse(connect.CodeAlreadyExists, err)
	_, err = c.accounts.CreateAccount(t.Context(), &adminv1.CreateAccountRequest{
		Account: &resourcev1.Account{Metadata: named("a2"), Channel: "none", Secret: hidden(planted["first account's secret"])},
	})
	refuse(connect.CodeInvalidArgument, err)
	_, err = c.accounts.CreateAccount(t.Context(), &adminv1.CreateAccountRequest{Account: &resourcev1.Account{
		Metadata: named("a2"), Channel: "c1", ProxyUrl: "http://p.example:1", ProxySecret: hidden(planted["secret of a refused proxy"]),
	}})
	refuse(connect.CodeInvalidArgument, err)
	_, err = c.accounts.CreateAccount(t.Context(), &adminv1.CreateAccountRequest{Account: &resourcev1.Account{
		Metadata: named("a2"), Channel: "c1", ProxyUrl: "http://u:" + planted["url credentials"] + "@p.example:1",
	}})
	refuse(connect.CodeInvalidArgument, err)
	_, err = w.as(planted["wrong token"]).keys.ListKeys(t.Context(), &adminv1.ListKeysRequest{})
	refuse(connect.CodeUnauthenticated, err)

	for _, value := range []string{
		`{"type":"service_account","client_email":"e","private_key":"` + planted["refused key file"] + `"}`, "{" + planted["refused key file"] + "}",
	} {
		for _, a := range []*resourcev1.Account{
			{Metadata: named("a2"), Channel: "c1", Secret: hidden(value)},
			{Metadata: named("a2"), Channel: "vertex", Secret: hidden(value), Exchange: &resourcev1.Exchange{Method: 1}},
		} {
			_, err = c.accounts.CreateAccount(t.Context(), &adminv1.CreateAccountRequest{Account: a})
			refuse(connect.CodeInvalidArgument, err)
		}
	}
	// What is stored cannot be tried against fields that do not fit it.
	_, err = c.accounts.UpdateAccount(t.Context(), &adminv1.UpdateAccountRequest{
		Account: &resourcev1.Account{Metadata: named("sa")}, UpdateMask: mask("exchange"),
	})
	refuse(connect.CodeInvalidArgument, err)
	for _, filter := range []string{`account.secret.sealed.key_id == "x"`, `account.secret.value == "x"`, `credential.secret == b"x"`} {
		_, err = c.accounts.ListAccounts(t.Context(), &adminv1.ListAccountsRequest{Filter: filter})
		refuse(connect.CodeInvalidArgument, err)
	}

	v := planted["malformed JSON"]
	for _, body := range []string{
		`{"account":{"secret":{"value":"` + v + `\x"}}}`, `{"account":{"secret":{"value":` + v + `}}}`, `{"account":{"secret":"` + v + `"}}`,
		`{"account":{"weight":"` + v + `"}}`, `{"account":{"` + v + `":1}}`, v, `"` + v + `"`, `{"account":{"disabled":"` + v + `"}}`,
		`{"account":{"metadata":{"createTime":"` + v + `"}}}`, `{"account":{"secret":{"sealed":{"nonce":"` + v + `"}}}}`,
	} {
		if status, _, reply := w.post(w.owner, "/fairway.admin.v1.AccountService/CreateAccount", body); status != http.StatusBadRequest {
			t.Errorf("%s: status %d: %s", body, status, reply)
		}
	}

	// Rooms behind admin fail too, with whatever in their errors.
	w.usage.query = func(*adminv1.QueryUsageRequest) (*adminv1.QueryUsageResponse, error) {
		panic("a library panics with " + planted["first account's secret"])
	}
	_, err = c.usage.QueryUsage(t.Context(), &adminv1.QueryUsageRequest{})
	refuse(connect.CodeInternal, err)
}

// A failure behind admin reaches its caller as a code and nothing else; its cause is logged once, with the request's id.
func TestInternalErrors(t *testing.T) {
	w := newWorld(t)
	c := w.as(w.owner)
	for _, tt := range []struct {
		name  string
		query func(*adminv1.QueryUsageRequest) (*adminv1.QueryUsageResponse, error)
		code  connect.Code
		want  string // the whole message
		log   string
	}{
		{"a foreign error", func(*adminv1.QueryUsageRequest) (*adminv1.QueryUsageResponse, error) {
			return nil, errors.New("disk sda1 is on fire")
		}, connect.CodeInternal, "internal error", "sda1"},
		{"a fault with a cause", func(*adminv1.QueryUsageRequest) (*adminv1.QueryUsageResponse, error) {
			return nil, fmt.Errorf("query: %w", fault.New(fault.Unavailable, "the books are closed").With(errors.New("sdb2")))
		}, connect.CodeUnavailable, "the books are closed", "sdb2"},
		{"an error of connect that somebody passes on", func(*adminv1.QueryUsageRequest) (*adminv1.QueryUsageResponse, error) {
			return nil, connect.NewError(connect.CodeNotFound, "of another server")
		}, connect.CodeInternal, "internal error", "of another server"},
		{"a panic of the runtime", func(*adminv1.QueryUsageRequest) (*adminv1.QueryUsageResponse, error) {
			var none []int
			return nil, fmt.Errorf("%d", none[3])
		}, connect.CodeInternal, "internal error", "index out of range"},
		{"no reply at all", func(*adminv1.QueryUsageRequest) (*adminv1.QueryUsageResponse, error) { return nil, nil }, 0, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.usage.query = tt.query
			start := len(w.log.String())
			ctx, info := connect.NewClientContext(t.Context())
			_, err := c.usage.QueryUsage(ctx, &adminv1.QueryUsageRequest{})
			if tt.code == 0 {
				if err != nil {
					t.Errorf("error = %v", err)
				}
				return
			}
			if m := wantCode(t, err, tt.code); m != tt.want {
				t.Errorf("message %q, want %q", m, tt.want)
			}
			lines := 0
			for line := range strings.Lines(w.log.String()[start:]) {
				if strings.Contains(line, tt.log) {
					lines++
					if id := info.ResponseHeader().Get("x-request-id"); id == "" || !strings.Contains(line, id) {
						t.Errorf("the log line does not carry the request id %q: %s", id, line)
					}
				}
			}
			if lines != 1 {
				t.Errorf("the cause was logged %d times, want once", lines)
			}
		})
	}
}

// Applying the same file twice changes nothing, although a sealed form looks different each time.
func TestSecretsAreIdempotent(t *testing.T) {
	w := newWorld(t)
	c := w.as(w.owner)
	w.channel("c1", &resourcev1.Account{Metadata: named("a1"), Secret: hidden("one")})
	apply := func(s *resourcev1.Secret, paths ...string) *resourcev1.Account {
		t.Helper()
		res, err := c.accounts.UpdateAccount(t.Context(), &adminv1.UpdateAccountRequest{
			Account: &resourcev1.Account{Metadata: named("a1"), Weight: 100, Secret: s}, UpdateMask: mask(paths...),
		})
		if err != nil {
			t.Fatal(err)
		}
		return res.GetAccount()
	}
	first := apply(hidden("one"))
	again := apply(hidden("one"))
	if first.GetMetadata().GetEtag() != again.GetMetadata().GetEtag() {
		t.Error("the same secret made a new revision")
	}
	if kept := apply(nil); kept.GetSecret().GetFingerprint() != secret.Fingerprint("one") {
		t.Error("an update of everything without a secret dropped the secret")
	}
	if kept := apply(again.GetSecret()); kept.GetSecret().GetFingerprint() != secret.Fingerprint("one") {
		t.Error("a secret that was read and sent back dropped the secret")
	}
	if other := apply(hidden("two")); other.GetSecret().GetFingerprint() != secret.Fingerprint("two") ||
		other.GetMetadata().GetEtag() == first.GetMetadata().GetEtag() {
		t.Error("another secret changed nothing")
	}
	if gone := apply(nil, "secret"); gone.GetSecret() != nil {
		t.Errorf("a secret that is cleared by name is still there: %v", gone.GetSecret())
	}
	for r := range w.store.State().All(model.KindAccount) {
		if a, ok := r.(*resourcev1.Account); ok && a.GetSecret().GetSealed() != nil {
			t.Error("the sealed form outlived its secret")
		}
	}
}

// The ciphertext opens at its own place only.
func TestSecretsAreSealedForTheirPlace(t *testing.T) {
	w := newWorld(t)
	w.channel("c1", &resourcev1.Account{
		Metadata: named("a1"), Secret: hidden("one"), ProxyUrl: "http://p.example:1", ProxySecret: hidden("u:p"),
	})
	r, ok := w.store.State().ByName(model.KindAccount, "a1")
	a, isAccount := r.(*resourcev1.Account)
	if !ok || !isAccount {
		t.Fatal("no account")
	}
	id := a.GetMetadata().GetId()
	for _, tt := range []struct {
		kind, id, field string
		v               *resourcev1.Secret
		want            string
	}{
		{"account", id, "secret", a.GetSecret(), "one"},
		{"account", id, "proxy_secret", a.GetProxySecret(), "u:p"},
		{"account", id, "secret", a.GetProxySecret(), ""},
		{"account", "other", "secret", a.GetSecret(), ""},
		{"key", id, "secret", a.GetSecret(), ""},
	} {
		got, err := w.service.sealer.Open(tt.v.GetSealed(), tt.kind, tt.id, tt.field)
		if string(got) != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("open at %s|%s|%s = %q, %v; want %q", tt.kind, tt.id, tt.field, got, err, tt.want)
		}
	}
}

func TestTokenFileIsPrivate(t *testing.T) {
	w := newWorld(t)
	info, err := os.Stat(w.file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
}
