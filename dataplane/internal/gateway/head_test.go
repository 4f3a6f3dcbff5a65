package gateway

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"fairway/dataplane/internal/ingress"
	"fairway/dataplane/internal/provider"
	"fairway/dataplane/internal/snapshot"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/operation"
	"fairway/pkg/secret"
)

// FuzzHead: whatever headers a client sends, the upstream request has our credential alone, nothing that must not pass,
// and exactly one head.
func FuzzHead(f *testing.F) {
	f.Add("X-A: b\r\n")
	f.Add("Connection: x-a\r\nX-A: b\r\ncookie: c\r\nX-Forwarded-For: d\r\n")
	f.Add("AUTHORIZATION: Bearer x\r\nauthorization: y\r\nHost: evil\r\nContent-Length: 7\r\n")
	adapter, err := provider.New(provider.Channel{Provider: int32(resourcev1.Provider_PROVIDER_OPENAI), Host: "up.example", Path: "/p"})
	if err != nil {
		f.Fatal(err)
	}
	account := &snapshot.Account{
		Secret: secret.New("the-secret"), Organization: "org",
		Channel: &snapshot.Channel{
			Adapter: adapter,
			BaseURL: snapshot.BaseURL{Host: "up.example", Path: "/p"}, Headers: []snapshot.Header{{Name: "X-Set", Value: "v"}},
		},
	}
	f.Fuzz(func(t *testing.T, headers string) {
		request, f := ingress.Parse([]byte("POST /v1/chat/completions HTTP/1.1\r\nHost: proxy\r\n" + headers + "\r\n"))
		if f != nil {
			return
		}
		x := &exchange{}
		x.in, x.op, x.plan = request, operation.Chat, operation.Chat
		x.buildHead(account, nil)
		in := bufio.NewReader(bytes.NewReader(x.head))
		r, err := http.ReadRequest(in)
		if err != nil {
			t.Fatalf("%q: %v", x.head, err)
		}
		if rest, _ := io.ReadAll(in); len(rest) > 0 {
			t.Fatalf("after the head: %q", rest)
		}
		if r.Host != "up.example" || r.URL.Path != "/p/v1/chat/completions" || r.ContentLength != 0 {
			t.Fatalf("%q", x.head)
		}
		for name, values := range r.Header {
			lower := strings.ToLower(name)
			switch lower {
			case "authorization":
				if len(values) != 1 || values[0] != "Bearer the-secret" {
					t.Fatalf("credentials %q", values)
				}
			case "content-length":
			case "accept-encoding", "openai-organization", "x-set", "content-type":
				if len(values) != 1 {
					t.Fatalf("%s: %q", name, values)
				}
			default:
				if endsHere([]byte(name)) {
					t.Fatalf("%s passed", name)
				}
			}
		}
		if got := string(x.head[x.secret.Start:x.secret.End]); got != "the-secret" {
			t.Fatalf("secret at %q", got)
		}
	})
}

func TestMask(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "nothing": "nothing", "12345678": "********", "a12345678b12345678": "a********b********", "1234567": "1234567",
	} {
		b := []byte(in)
		if maskSecret(b, []byte("12345678")); string(b) != want {
			t.Errorf("%q: %q", in, b)
		}
	}
	b := []byte("a short word")
	if maskSecret(b, []byte("a")); string(b) != "a short word" {
		t.Error("a short secret masks ordinary words")
	}
}

func TestBearer(t *testing.T) {
	for in, want := range map[string]string{
		"Bearer k": "k", "bearer k": "k", "BEARER  k ": "k", "Bearer": "", "Bearer ": "", "Basic k": "", "k": "", "": "",
	} {
		if got := string(bearer([]byte(in))); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}
