package snapshot

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

func newContext(t *testing.T) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return ctx, cancel
}

func TestParseBaseURL(t *testing.T) {
	tests := []struct {
		raw  string
		want BaseURL
		err  string
	}{
		{"https://api.openai.com", BaseURL{true, "api.openai.com", "api.openai.com", "api.openai.com:443", ""}, ""},
		{"https://API.example.com:443/", BaseURL{true, "api.example.com", "api.example.com", "api.example.com:443", ""}, ""},
		{"http://h:8080/a/b/", BaseURL{false, "h", "h:8080", "h:8080", "/a/b"}, ""},
		{"http://[::1]:80", BaseURL{false, "::1", "[::1]", "[::1]:80", ""}, ""},
		{"https://[2001:db8::1]:8443/x", BaseURL{true, "2001:db8::1", "[2001:db8::1]:8443", "[2001:db8::1]:8443", "/x"}, ""},
		{"", BaseURL{}, "empty"},
		{"ftp://h", BaseURL{}, "scheme"},
		{"https://", BaseURL{}, "want http"},
		{"https://u:p@h", BaseURL{}, "want http"},
		{"https://h?x=1", BaseURL{}, "want http"},
		{"https://h#f", BaseURL{}, "want http"},
		{"https://h/a%2fb", BaseURL{}, "want http"},
		{"https://h/../x", BaseURL{}, "dot segments"},
		{"https://h:0", BaseURL{}, "port"},
		{"https://h:99999", BaseURL{}, "port"},
		{"https://h\r\nx", BaseURL{}, "visible"},
		{"https://a,b", BaseURL{}, "not a host"},
	}
	for _, tt := range tests {
		t.Run(tt.raw, func(t *testing.T) {
			got, err := parseBaseURL(tt.raw)
			if (err == nil) != (tt.err == "") || (err != nil && !strings.Contains(err.Error(), tt.err)) {
				t.Fatalf("error = %v, want %q", err, tt.err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzBaseURL: what is accepted can be dialled, and cannot break or redirect a request.
func FuzzBaseURL(f *testing.F) {
	for _, s := range []string{"https://h", "http://[::1]:80/x/", "https://u@h", "https://h/%2e%2e/", "http://h:1/a//b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		b, err := parseBaseURL(raw)
		if err != nil {
			return
		}
		host, port, err := net.SplitHostPort(b.Addr)
		if err != nil || host != b.Name || port == "" {
			t.Errorf("%q: address %q (%v) is not host %q with a port", raw, b.Addr, err, b.Name)
		}
		if !visible(b.Host) || strings.ContainsAny(b.Host+b.Path, "?#@\\%\"") || (b.Path != "" && (b.Path[0] != '/' || strings.HasSuffix(b.Path, "/"))) {
			t.Errorf("%q: host %q, path %q", raw, b.Host, b.Path)
		}
		for _, s := range strings.Split(b.Path, "/") {
			if s == "." || s == ".." {
				t.Errorf("%q: path %q has dot segments", raw, b.Path)
			}
		}
	})
}

func TestCompileRefuses(t *testing.T) {
	channel := func(change func(*syncv1.ChannelState)) proto.Message {
		st := &syncv1.ChannelState{Provider: 1, Name: "c", BaseUrl: "https://h"}
		change(st)
		return st
	}
	mac := macOf(1)
	tests := []struct {
		name string
		kind syncv1.Kind
		msg  proto.Message
		want string
	}{
		{"header that breaks lines", channelKind, channel(func(c *syncv1.ChannelState) { c.Headers = map[string]string{"x": "a\r\nb: c"} }), "value of \"x\""},
		{"header name", channelKind, channel(func(c *syncv1.ChannelState) { c.Headers = map[string]string{"x: y": "a"} }), "not a header's name"},
		{"header of framing", channelKind, channel(func(c *syncv1.ChannelState) { c.Headers = map[string]string{"Content-Length": "1"} }), "cannot be set"},
		{"header of the credential", channelKind, channel(func(c *syncv1.ChannelState) { c.Headers = map[string]string{"AUTHORIZATION": "x"} }), "cannot be set"},
		{"timeout", channelKind, channel(func(c *syncv1.ChannelState) { c.IdleTimeout = durationpb.New(-1) }), "idle_timeout"},
		{"ratio", channelKind, channel(func(c *syncv1.ChannelState) { c.PriceRatioPpm = -1 }), "price_ratio_ppm"},
		{"model", channelKind, channel(func(c *syncv1.ChannelState) { c.Models = []string{"a b"} }), "models"},
		{"mapping", channelKind, channel(func(c *syncv1.ChannelState) { c.ModelMapping = map[string]string{"a": "\"" + "\n"} }), "model_mapping"},
		{"secret", accountKind, &syncv1.AccountState{ChannelId: "c", Secret: "canary\n"}, "secret: has"},
		{"no channel", accountKind, &syncv1.AccountState{}, "channel_id"},
		{"proxy", accountKind, &syncv1.AccountState{ChannelId: "c", ProxyUrl: "https://h:1"}, "proxy_url"},
		{"proxy without port", accountKind, &syncv1.AccountState{ChannelId: "c", ProxyUrl: "http://h"}, "proxy_url"},
		{"proxy secret", accountKind, &syncv1.AccountState{ChannelId: "c", ProxyUrl: "http://h:1", ProxySecret: "canary"}, "proxy_secret: want"},
		{"short mac", keyKind, &syncv1.KeyState{Mac: []byte{1}}, "mac"},
		{"long mac", keyKind, &syncv1.KeyState{Mac: append(mac[:], 1)}, "mac"},
		{"address", keyKind, &syncv1.KeyState{Mac: mac[:], AllowedIps: []string{"10.0.0.0/33"}}, "allowed_ips"},
		{"time", keyKind, &syncv1.KeyState{Mac: mac[:], ExpireTime: &timestamppb.Timestamp{Nanos: -1}}, "expire_time"},
		{"limits of a key", keyKind, &syncv1.KeyState{Mac: mac[:], Limits: &syncv1.LimitsState{Tpm: -1}}, "limits"},
		{"client of no name", keyKind, &syncv1.KeyState{Mac: mac[:], Clients: []string{"a", ""}}, "clients"},
		{"account of no name", keyKind, &syncv1.KeyState{Mac: mac[:], AccountIds: []string{""}}, "account_ids"},
		{"limits of a group", groupKind, &syncv1.GroupState{Limits: &syncv1.LimitsState{Fallback: -1}}, "limits"},
		{"limits of a tenant", tenantKind, &syncv1.TenantState{Limits: &syncv1.LimitsState{Concurrency: -1}}, "limits"},
		{"part of itself", tenantKind, &syncv1.TenantState{ParentId: "id"}, "parent_id"},
		{"price", modelKind, &syncv1.ModelState{Name: "m", Priced: true, Output: -1}, "prices"},
		{"no name", modelKind, &syncv1.ModelState{}, "name"},
		{"no pepper", settingsKind, &syncv1.SettingsState{}, "pepper"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := compile(tt.kind, "id", 1, body(t, tt.msg))
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "canary") {
				t.Errorf("error = %v, want it to name %q and no secret", err, tt.want)
			}
		})
	}
}

func TestCompileFillsIn(t *testing.T) {
	mac := macOf(3)
	r := NewReplica()
	src := newSource("L")
	src.apply(
		put(t, channelKind, "c", 1, &syncv1.ChannelState{Provider: 1, BaseUrl: "https://h", Models: []string{"b", "a", "b"}, GroupIds: []string{"g", "g"},
			Headers: map[string]string{"b": "2", "a": "1"}, ModelMapping: map[string]string{"a": "z"}, DialTimeout: durationpb.New(time.Second)}),
		put(t, accountKind, "a", 1, &syncv1.AccountState{ChannelId: "c", Secret: "s", ProxyUrl: "socks5://p:1080", ProxySecret: "u:p:q"}),
		put(t, keyKind, "k", 1, &syncv1.KeyState{Mac: mac[:], Models: []string{"gpt-*", "exact"}, ExpireTime: timestamppb.New(time.Unix(0, 0)),
			AllowedIps: []string{"10.1.2.3", "2001:db8::/32", "::ffff:10.2.0.0/112"}}),
	)
	receive(t, r, src.full())
	s := r.Snapshot()
	c, _ := s.Channel("c")
	if c.Weight != 100 || c.PriceRatio != 1_000_000 || c.Dial != time.Second || c.TLS != defaultTLS || c.FirstByte != defaultFirstByte ||
		c.Idle != defaultIdle || c.UpstreamModel("a") != "z" || c.UpstreamModel("b") != "b" {
		t.Errorf("channel = %+v", c)
	}
	if diff := cmp.Diff([]Header{{"a", "1"}, {"b", "2"}}, c.Headers); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a", "b"}, c.Models); diff != "" {
		t.Errorf("models (-want +got):\n%s", diff)
	}
	u, _ := s.units.get("c")
	if a := u.accounts[0]; a.ProxyURL.String() != "socks5://u:p%3Aq@p:1080" || a.Weight != 100 {
		t.Errorf("account = %+v", a)
	}
	if s.Settings() != defaultSettings() {
		t.Errorf("settings = %+v, want the defaults", s.Settings())
	}
	k, _ := s.Key(mac)
	if k.ExpireMS == 0 {
		t.Error("a key that expired in 1970 never expires")
	}
	for model, want := range map[string]bool{"gpt-4": true, "gpt-": true, "gpt": false, "exact": true, "exact2": false} {
		if k.AllowsModel(model) != want {
			t.Errorf("AllowsModel(%q) = %v", model, !want)
		}
	}
	for ip, want := range map[string]bool{"10.1.2.3": true, "::ffff:10.1.2.3": true, "10.1.2.4": false, "2001:db8::5": true, "10.2.0.7": true, "10.3.0.7": false} {
		if k.AllowsIP(netip.MustParseAddr(ip)) != want {
			t.Errorf("AllowsIP(%s) = %v", ip, !want)
		}
	}
	if k.AllowsIP(netip.Addr{}) {
		t.Error("no address at all is allowed")
	}
}

func TestListedServedAndKnown(t *testing.T) {
	src := newSource("L")
	channel := func(id string, groups []string, disabled bool, models ...string) *syncv1.Change {
		return put(t, channelKind, id, 1, &syncv1.ChannelState{Provider: 1, BaseUrl: "http://h", Models: models, GroupIds: groups, Disabled: disabled})
	}
	src.apply(
		put(t, groupKind, "g1", 1, &syncv1.GroupState{Name: "one"}),
		put(t, groupKind, "g2", 1, &syncv1.GroupState{Name: "two"}),
		put(t, groupKind, "g3", 1, &syncv1.GroupState{Name: "three"}),
		channel("live", []string{"g1"}, false, "served"),
		channel("off", []string{"g1"}, true, "disabled", "served"),
		channel("bare", []string{"g2"}, false, "no accounts"),
		channel("stray", []string{"nowhere"}, false, "elsewhere"),
		put(t, accountKind, "a1", 1, &syncv1.AccountState{ChannelId: "live"}),
		put(t, accountKind, "a2", 1, &syncv1.AccountState{ChannelId: "off"}),
		put(t, accountKind, "a3", 1, &syncv1.AccountState{ChannelId: "bare", Disabled: true}),
	)
	src.items[ref{channelKind, "bare"}] = channel("bare", []string{"g2"}, false, "bare")
	r := NewReplica()
	receive(t, r, src.full())
	s := r.Snapshot()
	tests := []struct {
		group, model        string
		pool, listed, known bool
	}{
		{"g1", "served", true, true, true},
		{"g2", "served", false, false, true},
		{"g1", "disabled", false, true, true},
		{"g2", "bare", false, true, true},
		{"g3", "bare", false, false, true},
		{"g1", "elsewhere", false, false, true},
		{"g1", "unheard of", false, false, false},
	}
	for _, tt := range tests {
		g, ok := s.Group(GroupID(tt.group))
		if !ok {
			t.Fatalf("group %s is unknown", tt.group)
		}
		_, pool := s.Pool(g, tt.model)
		if pool != tt.pool || s.Listed(g, tt.model) != tt.listed || s.Known(tt.model) != tt.known {
			t.Errorf("%s %s: pool %v, listed %v, known %v; want %v, %v, %v", tt.group, tt.model, pool, s.Listed(g, tt.model), s.Known(tt.model),
				tt.pool, tt.listed, tt.known)
		}
	}
	g1, _ := s.Group("g1")
	if diff := cmp.Diff([]string{"served"}, s.Models(g1)); diff != "" {
		t.Errorf("models of g1 (-want +got):\n%s", diff)
	}
}

// FuzzCompile: no body makes compiling panic, and what compiles links.
func FuzzCompile(f *testing.F) {
	for id, c := range small(f).items {
		f.Add(int32(id.kind), c.GetBody())
	}
	f.Add(int32(1), poison)
	f.Fuzz(func(t *testing.T, kind int32, body []byte) {
		got, err := compile(syncv1.Kind(kind), "id", 1, body)
		if err != nil {
			if strings.Contains(err.Error(), "panicked") {
				t.Fatal(err)
			}
			return
		}
		if got != nil {
			newLinker().link(empty(), []delta{{new: got}})
		}
	})
}
