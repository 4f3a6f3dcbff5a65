package model

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func md(id, name string) *resourcev1.Metadata { return &resourcev1.Metadata{Id: id, Name: name} }

func state(rs ...Resource) *State {
	var changes []Change
	for _, r := range rs {
		changes = append(changes, Change{Kind: KindOf(r), ID: r.GetMetadata().GetId(), New: r})
	}
	return Empty("l").Apply(1, changes)
}

// world is a small valid data set.
func world() *State {
	return state(
		&resourcev1.Settings{Metadata: md("s", SettingsName)},
		&resourcev1.Group{Metadata: md("g0", DefaultGroup)},
		&resourcev1.Group{Metadata: md("g1", "vip")},
		&resourcev1.Group{Metadata: md("g2", "keyed")},
		&resourcev1.Group{Metadata: md("g3", "idle")},
		validChannel("c1", "used"),
		validChannel("c2", "unused"),
		&resourcev1.Account{Metadata: md("a1", "a"), Channel: "used"},
		&resourcev1.Key{Metadata: md("k1", "k"), Group: "keyed"},
		&resourcev1.Operator{Metadata: md("o1", "owner"), Role: resourcev1.Role_ROLE_OWNER},
		&resourcev1.Operator{Metadata: md("o2", "asleep"), Role: resourcev1.Role_ROLE_OWNER, Disabled: true},
		&resourcev1.Operator{Metadata: md("o3", "viewer"), Role: resourcev1.Role_ROLE_VIEWER},
	)
}

func validChannel(id, name string) *resourcev1.Channel {
	return &resourcev1.Channel{
		Metadata: md(id, name), Provider: resourcev1.Provider_PROVIDER_OPENAI, BaseUrl: "https://api.example.com/v1",
		Models: []string{"m"}, Groups: []string{"vip"},
	}
}

func with[R Resource](r R, change func(R)) R {
	change(r)
	return r
}

func TestCheck(t *testing.T) {
	type channel = resourcev1.Channel
	type account = resourcev1.Account
	type key = resourcev1.Key
	header := func(name, value string) Resource {
		return with(validChannel("n", "n"), func(c *channel) { c.Headers = map[string]string{name: value} })
	}
	acc := func(change func(*account)) Resource {
		return with(&account{Metadata: md("n", "n"), Channel: "used"}, change)
	}
	k := func(change func(*key)) Resource { return with(&key{Metadata: md("n", "n")}, change) }
	group := func(change func(*resourcev1.Deadlines)) *resourcev1.Group {
		d := &resourcev1.Deadlines{Total: durationpb.New(time.Minute)}
		change(d)
		return &resourcev1.Group{Metadata: md("n", "n"), Deadlines: d}
	}
	sealed := &resourcev1.Secret{Sealed: &resourcev1.SealedValue{}}
	tests := []struct {
		name  string
		r     Resource
		param string // of the fault; "" = valid
	}{
		{"channel", validChannel("n", "n"), ""},
		{"channel without groups", with(validChannel("n", "n"), func(c *channel) { c.Groups = nil }), ""},
		{"no name", validChannel("n", ""), "metadata.name"},
		{"renamed", validChannel("c1", "other"), "metadata.name"},
		{"unknown provider", with(validChannel("n", "n"), func(c *channel) { c.Provider = 99 }), "provider"},
		{"bad URL", with(validChannel("n", "n"), func(c *channel) { c.BaseUrl = "https://u:p@x" }), "base_url"},
		{"unknown group", with(validChannel("n", "n"), func(c *channel) { c.Groups = []string{"vip", "none"} }), "groups"},
		{"mapping", with(validChannel("n", "n"), func(c *channel) { c.ModelMapping = map[string]string{"m": "M"} }), ""},
		{"mapping of a foreign model", with(validChannel("n", "n"), func(c *channel) { c.ModelMapping = map[string]string{"x": "M"} }), "model_mapping"},
		{"header", header("X-Team", "a b"), ""},
		{"header host", header("Host", "x"), "headers"},
		{"header authorization", header("AUTHORIZATION", "x"), "headers"},
		{"header api-key", header("api-key", "x"), "headers"},
		{"header content-length", header("Content-Length", "1"), "headers"},
		{"header transfer-encoding", header("transfer-encoding", "chunked"), "headers"},
		{"header connection", header("Connection", "x"), "headers"},
		{"header accept-encoding", header("Accept-Encoding", "gzip"), "headers"},
		{"header with CRLF", header("X-A", "a\r\nHost: b"), "headers"},
		{"header with NUL", header("X-A", "a\x00"), "headers"},
		{"header name with a space", header("X A", "a"), "headers"},
		{"header name empty", header("", "a"), "headers"},
		{"header twice", with(validChannel("n", "n"), func(c *channel) { c.Headers = map[string]string{"X-A": "1", "x-a": "2"} }), "headers"},
		{"account", acc(func(*account) {}), ""},
		{"account of no channel", acc(func(a *account) { a.Channel = "none" }), "channel"},
		{"account moves", &account{Metadata: md("a1", "a"), Channel: "unused"}, "channel"},
		{"proxy", acc(func(a *account) { a.ProxyUrl, a.ProxySecret = "http://proxy:3128", sealed }), ""},
		{"socks proxy by address", acc(func(a *account) { a.ProxyUrl = "socks5://[::1]:1080" }), ""},
		{"proxy with credentials", acc(func(a *account) { a.ProxyUrl = "http://u:p@proxy:1" }), "proxy_url"},
		{"proxy without port", acc(func(a *account) { a.ProxyUrl = "http://proxy" }), "proxy_url"},
		{"proxy port out of range", acc(func(a *account) { a.ProxyUrl = "http://proxy:70000" }), "proxy_url"},
		{"proxy with a path", acc(func(a *account) { a.ProxyUrl = "http://proxy:1/x" }), "proxy_url"},
		{"proxy with a query", acc(func(a *account) { a.ProxyUrl = "http://proxy:1?x" }), "proxy_url"},
		{"proxy of another scheme", acc(func(a *account) { a.ProxyUrl = "https://proxy:1" }), "proxy_url"},
		{"proxy with a bad host", acc(func(a *account) { a.ProxyUrl = "http://-a-:1" }), "proxy_url"},
		{"proxy secret without a proxy", acc(func(a *account) { a.ProxySecret = sealed }), "proxy_secret"},
		{"key", k(func(k *key) { k.AllowedIps = []string{"10.0.0.1", "2001:db8::/32"} }), ""},
		{"key of no group", k(func(k *key) { k.Group = "none" }), "group"},
		{"key with a bad address", k(func(k *key) { k.AllowedIps = []string{"10.0.0.256"} }), "allowed_ips"},
		{"key with a bad prefix", k(func(k *key) { k.AllowedIps = []string{"10.0.0.0/33"} }), "allowed_ips"},
		{"key with a zone", k(func(k *key) { k.AllowedIps = []string{"fe80::1%eth0"} }), "allowed_ips"},
		{"key pattern", k(func(k *key) { k.Models = []string{"gpt-*", "*"} }), ""},
		{"key pattern inside", k(func(k *key) { k.Models = []string{"g*t"} }), "models"},
		{"key expiry", k(func(k *key) { k.ExpireTime = &timestamppb.Timestamp{Nanos: -1} }), "expire_time"},
		{"settings", &resourcev1.Settings{Metadata: md("s", SettingsName)}, ""},
		{"rests in order", &resourcev1.Settings{Metadata: md("s", SettingsName), Recovery: &resourcev1.Recovery{
			Open: durationpb.New(time.Minute), MaxOpen: durationpb.New(time.Minute),
		}}, ""},
		{"the longest rest is shorter than the first", &resourcev1.Settings{Metadata: md("s", SettingsName), Recovery: &resourcev1.Recovery{
			Open: durationpb.New(time.Minute), MaxOpen: durationpb.New(59 * time.Second),
		}}, "recovery.max_open"},
		{"group with deadlines", group(func(d *resourcev1.Deadlines) { d.FirstByte, d.Idle = d.Total, d.Total }), ""},
		{"group without a total", group(func(d *resourcev1.Deadlines) { d.FirstByte, d.Total = durationpb.New(time.Hour), nil }), ""},
		{"first byte after the end", group(func(d *resourcev1.Deadlines) { d.FirstByte = durationpb.New(time.Hour) }), "deadlines.first_byte"},
		{"idle beyond the end", group(func(d *resourcev1.Deadlines) { d.Idle = durationpb.New(time.Hour) }), "deadlines.idle"},
		{"hedged in time", with(group(func(*resourcev1.Deadlines) {}), func(g *resourcev1.Group) {
			g.Hedging = &resourcev1.Hedging{After: durationpb.New(time.Second)}
		}), ""},
		{"hedged after the end", with(group(func(*resourcev1.Deadlines) {}), func(g *resourcev1.Group) {
			g.Hedging = &resourcev1.Hedging{After: durationpb.New(time.Minute)}
		}), "hedging.after"},
		{"second settings", &resourcev1.Settings{Metadata: md("n", "other")}, "metadata.name"},
		{"operator", &resourcev1.Operator{Metadata: md("o3", "viewer"), Role: resourcev1.Role_ROLE_OPERATOR}, ""},
		{"new viewer", &resourcev1.Operator{Metadata: md("n", "n"), Role: resourcev1.Role_ROLE_VIEWER}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := Check(world(), tt.r)
			if tt.param == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			f := fault.From(err)
			if f == nil || f.Kind != fault.Invalid || f.Param != tt.param {
				t.Fatalf("got %v, want an invalid %s", err, tt.param)
			}
		})
	}
}

func TestLastOwnerStays(t *testing.T) {
	s := world()
	for name, r := range map[string]*resourcev1.Operator{
		"demoted":  {Metadata: md("o1", "owner"), Role: resourcev1.Role_ROLE_VIEWER},
		"disabled": {Metadata: md("o1", "owner"), Role: resourcev1.Role_ROLE_OWNER, Disabled: true},
	} {
		if f := fault.From(Check(s, r)); f == nil || f.Kind != fault.Stale || f.Code != CodeProtected {
			t.Errorf("%s: %v", name, f)
		}
		second := &resourcev1.Operator{Metadata: md("o4", "second"), Role: resourcev1.Role_ROLE_OWNER}
		if err := Check(s.Apply(2, []Change{{Kind: KindOperator, ID: "o4", New: second}}), r); err != nil {
			t.Errorf("%s with a second owner: %v", name, err)
		}
	}
}

func TestCheckDelete(t *testing.T) {
	tests := []struct {
		kind Kind
		id   string
		code string
	}{
		{KindSettings, "s", CodeProtected},
		{KindGroup, "g0", CodeProtected},
		{KindGroup, "g1", CodeInUse},
		{KindGroup, "g2", CodeInUse},
		{KindGroup, "g3", ""},
		{KindChannel, "c1", CodeInUse},
		{KindChannel, "c2", ""},
		{KindAccount, "a1", ""},
		{KindKey, "k1", ""},
		{KindOperator, "o1", CodeProtected},
		{KindOperator, "o2", ""},
		{KindOperator, "o3", ""},
	}
	for _, tt := range tests {
		f := fault.From(CheckDelete(world(), tt.kind, tt.id))
		switch {
		case tt.code == "" && f != nil:
			t.Errorf("%s %s: %v", tt.kind, tt.id, f)
		case tt.code != "" && (f == nil || f.Kind != fault.Stale || f.Code != tt.code):
			t.Errorf("%s %s: %v, want code %s", tt.kind, tt.id, f, tt.code)
		}
	}
	if k := fault.KindOf(CheckDelete(world(), KindKey, "none")); k != fault.NotFound {
		t.Errorf("delete of nothing: %v", k)
	}
}

func TestReferences(t *testing.T) {
	tests := []struct {
		r    Resource
		want []Ref
	}{
		{&resourcev1.Account{Channel: "c"}, []Ref{{KindChannel, "c"}}},
		{&resourcev1.Channel{}, []Ref{{KindGroup, DefaultGroup}}},
		{&resourcev1.Channel{Groups: []string{"b", "a", "b"}}, []Ref{{KindGroup, "b"}, {KindGroup, "a"}}},
		{&resourcev1.Key{}, []Ref{{KindGroup, DefaultGroup}}},
		{&resourcev1.Key{Group: "g"}, []Ref{{KindGroup, "g"}}},
		{&resourcev1.Group{}, nil},
		{&resourcev1.Key{Group: "g", Tenant: "t", Accounts: []string{"a", "b"}},
			[]Ref{{KindGroup, "g"}, {KindTenant, "t"}, {KindAccount, "a"}, {KindAccount, "b"}}},
		{&resourcev1.Tenant{}, nil},
		{&resourcev1.Tenant{Parent: "p", Groups: []string{"g"}}, []Ref{{KindTenant, "p"}, {KindGroup, "g"}}},
		{&resourcev1.Operator{}, nil},
		{&resourcev1.Operator{Tenant: "t"}, []Ref{{KindTenant, "t"}}},
		{&resourcev1.Notifier{Tenant: "t"}, []Ref{{KindTenant, "t"}}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, References(tt.r)); diff != "" {
			t.Errorf("%T (-want +got):\n%s", tt.r, diff)
		}
	}
}

func TestDefaults(t *testing.T) {
	for _, k := range Kinds() {
		once := Zero(k)
		Defaults(once)
		twice, _ := proto.Clone(once).(Resource)
		Defaults(twice)
		if diff := cmp.Diff(once, twice, protocmp.Transform()); diff != "" {
			t.Errorf("defaults of %s change what they made (-once +twice):\n%s", k, diff)
		}
	}
	c := &resourcev1.Channel{Weight: 7, Groups: []string{"g"}, PriceRatioPpm: 5}
	Defaults(c)
	if c.Weight != 7 || c.Groups[0] != "g" || c.PriceRatioPpm != 5 || c.Timeouts.GetFirstByte().AsDuration() != DefaultFirstByteTimeout {
		t.Errorf("defaults replaced what was set, or left out a timeout: %v", c)
	}
	for _, r := range []Resource{&resourcev1.Key{}, &resourcev1.Group{}, &resourcev1.Tenant{}} {
		Defaults(r)
		if l, ok := r.(interface{ GetLimits() *resourcev1.Limits }); !ok || l.GetLimits() != nil {
			t.Errorf("%s has limits that nobody set", KindOf(r))
		}
	}
	k := &resourcev1.Key{}
	Defaults(k)
	if k.Group != DefaultGroup {
		t.Errorf("a key's default group is %q", k.Group)
	}
	s := Empty("l")
	for i, r := range Initial() {
		r.GetMetadata().Id = string(rune('a' + i))
		if err := Check(s, r); err != nil {
			t.Errorf("initial %s: %v", KindOf(r), err)
		}
		if !Protected(KindOf(r), r.GetMetadata().GetName()) {
			t.Errorf("initial %s could be deleted", KindOf(r))
		}
	}
}

func TestBaseURL(t *testing.T) {
	tests := []struct{ in, want string }{ // want "" = refused
		{"https://api.openai.com", "https://api.openai.com"},
		{"https://api.openai.com/", "https://api.openai.com"},
		{"https://api.openai.com/v1", "https://api.openai.com"},
		{"https://api.openai.com/v1///", "https://api.openai.com"},
		{"HTTPS://API.OpenAI.com:443/v1", "https://api.openai.com"},
		{"http://127.0.0.1:80", "http://127.0.0.1"},
		{"http://127.0.0.1:8080/", "http://127.0.0.1:8080"},
		{"http://[::1]:8080/v1", "http://[::1]:8080"},
		{"http://[0:0::1]", "http://[::1]"},
		{"https://x.example/openai/v1", "https://x.example/openai"},
		{"https://x.example/V1", "https://x.example/V1"},
		{"https://x.example/api/v10", "https://x.example/api/v10"},
		{"http://my_service:8080", "http://my_service:8080"},
		{"https://x.example/v1/v1", ""},
		{"ftp://x.example", ""},
		{"x.example", ""},
		{"https://", ""},
		{"https:///v1", ""},
		{"https:x.example", ""},
		{"https://u:p@x.example", ""},
		{"https://x.example?a=b", ""},
		{"https://x.example?", ""},
		{"https://x.example#f", ""},
		{"https://x.example#", ""},
		{"https://x.example/../v1", ""},
		{"https://x.example/a/./b", ""},
		{"https://x.example/a//b", ""},
		{"https://x.example/%2e%2e/v1", ""},
		{"https://x.example/a%2fb", ""},
		{"https://x.example:0", ""},
		{"https://x.example:70000", ""},
		{"https://x.example:", ""},
		{"https://x..example", ""},
		{"https://-x.example", ""},
		{"https://[fe80::1%25eth0]", ""},
		{"https://[x.example]", ""},
		{"https://x.example/a b", ""},
		{"https://x.example/\r\nHost: y", ""},
		{"https://x.example\\@y.example", ""},
		{"https://bücher.example", ""},
	}
	for _, tt := range tests {
		got, err := BaseURL(tt.in)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("BaseURL(%q) = %q, %v, want %q", tt.in, got, err, tt.want)
		}
	}
}

func FuzzBaseURL(f *testing.F) {
	for _, seed := range []string{"https://api.openai.com/v1", "http://[::1]:8080/v1", "https://x.example/a/b/v1/", "https://u@x", "http://x:1/%2e", "http://0/@"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := BaseURL(raw)
		if err != nil {
			if strings.Contains(err.Error(), raw) && len(raw) > 20 {
				t.Errorf("the error repeats the value: %v", err)
			}
			return
		}
		again, err := BaseURL(got)
		if err != nil || again != got {
			t.Errorf("BaseURL(%q) = %q, which gives %q, %v", raw, got, again, err)
		}
		// An @ belongs to a path (model names have it) and never to the authority, where it would hide the host.
		authority, _, _ := strings.Cut(strings.SplitN(got, "://", 2)[1], "/")
		if strings.HasSuffix(got, "/") || strings.ContainsAny(got, " ?#%\\\r\n") || strings.Contains(authority, "@") {
			t.Errorf("BaseURL(%q) = %q", raw, got)
		}
		if with, err := BaseURL(got + "/v1"); err != nil || with != got {
			t.Errorf("%q with /v1 is another place: %q, %v", got, with, err)
		}
	})
}

func TestParsePrefix(t *testing.T) {
	tests := []struct{ in, want string }{
		{"10.0.0.1", "10.0.0.1/32"},
		{"10.1.2.3/8", "10.0.0.0/8"},
		{"2001:db8::1", "2001:db8::1/128"},
		{"2001:db8::1/32", "2001:db8::/32"},
		{"::ffff:10.0.0.1", "10.0.0.1/32"},
		{"::ffff:10.0.0.0/104", "10.0.0.0/8"},
		{"::ffff:10.0.0.0/90", ""},
		{"0.0.0.0/0", "0.0.0.0/0"},
		{"10.0.0.1/33", ""},
		{"fe80::1%eth0", ""},
		{"fe80::%eth0/64", ""},
		{"10.0.0", ""},
		{"", ""},
		{"/", ""},
	}
	for _, tt := range tests {
		got, err := ParsePrefix(tt.in)
		if (err == nil) != (tt.want != "") || (err == nil && got.String() != tt.want) {
			t.Errorf("ParsePrefix(%q) = %v, %v, want %q", tt.in, got, err, tt.want)
		}
	}
}

func FuzzParsePrefix(f *testing.F) {
	for _, seed := range []string{"10.0.0.1", "10.0.0.0/8", "::ffff:1.2.3.4/96", "fe80::1%x", "::/0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		p, err := ParsePrefix(raw)
		if err != nil {
			return
		}
		if p != p.Masked() || p.Addr().Is4In6() || p.Addr().Zone() != "" {
			t.Errorf("ParsePrefix(%q) = %v is not canonical", raw, p)
		}
		if again, err := ParsePrefix(p.String()); err != nil || again != p {
			t.Errorf("%v came back as %v, %v", p, again, err)
		}
		if addr, err := netip.ParseAddr(raw); err == nil && !p.Contains(addr.Unmap()) {
			t.Errorf("%v does not contain %v", p, addr)
		}
	})
}
