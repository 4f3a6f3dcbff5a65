package gateway

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3/option"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/pkg/clientkey"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

func TestAccess(t *testing.T) {
	w := newWorld(t)
	keys := map[string]string{}
	add := func(name string, change func(*syncv1.KeyState)) {
		keys[name] = clientkey.New().Reveal()
		k := keyState(keys[name], "g1")
		change(k)
		w.put(syncv1.Kind_KIND_KEY, "k-"+name, k)
	}
	add("disabled", func(k *syncv1.KeyState) { k.Disabled = true })
	add("expired", func(k *syncv1.KeyState) { k.ExpireTime = timestamppb.New(time.Unix(1, 0)) })
	add("elsewhere", func(k *syncv1.KeyState) { k.AllowedIps = []string{"10.0.0.0/8"} })
	add("here", func(k *syncv1.KeyState) { k.AllowedIps = []string{"127.0.0.1"} })
	add("limited", func(k *syncv1.KeyState) { k.Models = []string{"embed-*"} })
	add("denied", func(k *syncv1.KeyState) { k.Models, k.DeniedModels = []string{"gpt-*"}, []string{"gpt-x"} })
	add("script", func(k *syncv1.KeyState) { k.Clients = []string{"curl/"} })
	add("sdk", func(k *syncv1.KeyState) { k.Clients = []string{"curl/", "openai/go "} })
	w.put(syncv1.Kind_KIND_TENANT, "t-on", &syncv1.TenantState{Name: "on"})
	w.put(syncv1.Kind_KIND_TENANT, "t-off", &syncv1.TenantState{Name: "off", Disabled: true})
	w.put(syncv1.Kind_KIND_TENANT, "t-part", &syncv1.TenantState{Name: "part of off", ParentId: "t-off"})
	for _, tenant := range []string{"t-on", "t-off", "t-part", "t-gone"} {
		add(tenant, func(k *syncv1.KeyState) { k.TenantId = tenant })
	}
	w.put(syncv1.Kind_KIND_GROUP, "g2", &syncv1.GroupState{Name: "poor", Strategy: 1, PriceRatioPpm: 1_000_000})
	add("poor", func(k *syncv1.KeyState) { k.GroupId = "g2" })
	keys["good"] = w.key
	keys["unknown"] = clientkey.New().Reveal()
	keys["malformed"] = "sk-fw-nonsense"
	ch := w.channel("off", 1)
	ch.Models = []string{"sleeping"}
	w.put(syncv1.Kind_KIND_CHANNEL, "c-off", ch)
	w.tiers(secretA)
	for _, tc := range []struct {
		key, model string
		status     int
		code       string
	}{
		{"good", "gpt-x", 200, ""},
		{"here", "gpt-x", 200, ""},
		{"malformed", "gpt-x", 401, "invalid_api_key"},
		{"unknown", "gpt-x", 401, "invalid_api_key"},
		{"disabled", "gpt-x", 401, "api_key_disabled"},
		{"expired", "gpt-x", 401, "api_key_expired"},
		{"elsewhere", "gpt-x", 403, "ip_not_allowed"},
		{"limited", "gpt-x", 403, "model_not_allowed"},
		{"denied", "gpt-x", 403, "model_not_allowed"},
		{"script", "gpt-x", 403, "client_not_allowed"},
		{"sdk", "gpt-x", 200, ""},
		{"t-on", "gpt-x", 200, ""},
		{"t-off", "gpt-x", 401, "api_key_disabled"},
		{"t-part", "gpt-x", 401, "api_key_disabled"},
		{"t-gone", "gpt-x", 503, "tenant_not_found"},
		{"good", "no-such-model", 404, "model_not_found"},
		{"poor", "gpt-x", 404, "model_not_found"},
		{"good", "sleeping", 503, "no_account_available"},
	} {
		t.Run(tc.key+" "+tc.model, func(t *testing.T) {
			client := w.client(option.WithAPIKey(keys[tc.key]))
			_, err := client.Chat.Completions.New(context.Background(), hello(tc.model))
			if tc.status == 200 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			e := apiError(t, err)
			if e.StatusCode != tc.status || e.Code != tc.code {
				t.Errorf("got %d %q, want %d %q", e.StatusCode, e.Code, tc.status, tc.code)
			}
			if id := e.Response.Header.Get("x-request-id"); !strings.HasPrefix(id, "req_") {
				t.Errorf("request id = %q", id)
			}
			if retry := e.Response.Header.Get("x-should-retry"); (retry == "false") != (tc.status < 500) {
				t.Errorf("x-should-retry = %q", retry)
			}
		})
	}
	if n := len(w.books.all()); n != 4 {
		t.Errorf("%d usage records, want those of the four requests that were served", n)
	}
}

// A key, a model and an account that are made while a request is already asking for them.
func TestCatchUp(t *testing.T) {
	for _, what := range []string{"key", "model"} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			key := w.key
			if what == "key" {
				w.tiers(secretA)
				key = clientkey.New().Reveal()
			}
			// The miss is counted when it ends, so publish from the moment it can have begun.
			done := make(chan error, 1)
			client := w.client(option.WithAPIKey(key))
			go func() {
				_, err := client.Chat.Completions.New(context.Background(), hello("gpt-x"))
				done <- err
			}()
			w.eventually("the request is under way", func() bool { return testutil.ToFloat64(w.gateway.meters.inFlight) == 1 })
			if what == "key" {
				w.put(syncv1.Kind_KIND_KEY, "k2", keyState(key, "g1"))
				w.publish()
			} else {
				w.tiers(secretA)
			}
			if err := wait(t, "the answer", done); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestUnknownKeysAreAwaitedOncePerRevision(t *testing.T) {
	w := newWorld(t)
	w.tiers(secretA)
	key := clientkey.New().Reveal()
	client := w.client(option.WithAPIKey(key))
	misses := func() float64 { return testutil.ToFloat64(w.gateway.meters.missFinal) }
	for range 5 {
		_, err := client.Chat.Completions.New(context.Background(), hello("gpt-x"))
		if e := apiError(t, err); e.StatusCode != http.StatusUnauthorized {
			t.Fatalf("status = %d", e.StatusCode)
		}
	}
	if misses() != 5 {
		t.Errorf("final misses = %v", misses())
	}
	malformed := w.client(option.WithAPIKey("sk-fw-" + strings.Repeat("a", 49)))
	_, err := malformed.Chat.Completions.New(context.Background(), hello("gpt-x"))
	if e := apiError(t, err); e.StatusCode != http.StatusUnauthorized || misses() != 5 {
		t.Errorf("a key with a wrong checksum was awaited: %d, misses %v", e.StatusCode, misses())
	}
}
