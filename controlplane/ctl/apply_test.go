package ctl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func testSession(env map[string]string) *session {
	return &session{o: Options{In: strings.NewReader(""), Getenv: func(k string) string { return env[k] }}}
}

const twoDocuments = `
kind: account
metadata: {name: a}
channel: c
secret: {env: CRED}
---
# the channel comes second here, and first when applied
kind: channel
metadata: {name: c, labels: {team: x}}
provider: openai
base_url: https://api.example.com
models: [m]
disabled: false
timeouts: {idle: 90s}
`

func TestParseDocuments(t *testing.T) {
	docs, err := testSession(map[string]string{"CRED": "upstream-secret"}).parseDocuments([]byte(twoDocuments))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range docs {
		got = append(got, d.kind.name+" "+d.r.GetMetadata().GetName()+": "+strings.Join(d.paths, ","))
	}
	want := []string{"channel c: base_url,disabled,metadata.labels,models,provider,timeouts.idle", "account a: channel,secret"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("documents (-want +got):\n%s", diff)
	}
	if got := docs[1].r.(*resourcev1.Account).GetSecret().GetValue(); got != "upstream-secret" {
		t.Errorf("secret from the environment = %q", got)
	}
}

func TestParseDocumentsErrors(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"no kind", "metadata: {name: a}", `document 1: kind "" is not one of group, model, channel, account, key, operator`},
		{"no name", "kind: group", `document 1: group: metadata.name is missing`},
		{"all are named", "kind: x\n---\nkind: group\nmetadata: {name: g}\n---\nkind: z", "document 1: kind \"x\" is not one of group, model, channel, account, key, operator\n" +
			"document 3: kind \"z\" is not one of group, model, channel, account, key, operator"},
		{"duplicate key", "kind: group\nkind: group", `document 1: error converting YAML to JSON: yaml: unmarshal errors:` + "\n  line 2: key \"kind\" already set in map"},
		{"missing variable", "kind: account\nmetadata: {name: a}\nsecret: {env: NOPE}", `document 1: secret: the secret in variable NOPE is empty`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := testSession(nil).parseDocuments([]byte(tt.in))
			if err == nil || err.Error() != tt.want {
				t.Errorf("got %v\nwant %s", err, tt.want)
			}
		})
	}
}

// A document says nothing about the fields that it does not name, and apply must not either.
func TestCompareLooksOnlyAtNamedFields(t *testing.T) {
	docs, err := testSession(map[string]string{"CRED": "s"}).parseDocuments([]byte(twoDocuments))
	if err != nil {
		t.Fatal(err)
	}
	stored := &resourcev1.Channel{
		Metadata: &resourcev1.Metadata{Name: "c", Id: "01", Etag: "7", Labels: map[string]string{"team": "x"}},
		Provider: resourcev1.Provider_PROVIDER_OPENAI, BaseUrl: "https://api.example.com", Models: []string{"m"},
		Weight: 100, Groups: []string{"default"}, PriceRatioPpm: 1_000_000,
		Timeouts: &resourcev1.Timeouts{Dial: durationpb.New(10 * time.Second), Idle: durationpb.New(90 * time.Second)},
	}
	if paths, _ := docs[0].compare(stored); len(paths) != 0 {
		t.Errorf("nothing differs, but compare names %v", paths)
	}
	changed := proto.CloneOf(stored)
	changed.Models, changed.Disabled, changed.Metadata.Labels, changed.Timeouts = []string{"m", "n"}, true, nil, nil
	paths, diff := docs[0].compare(changed)
	if d := cmp.Diff([]string{"disabled", "metadata.labels", "models", "timeouts.idle"}, paths); d != "" {
		t.Errorf("paths (-want +got):\n%s", d)
	}
	if want := []string{"disabled: true -> none", `metadata.labels: none -> {"team":"x"}`, `models: ["m","n"] -> ["m"]`, `timeouts.idle: none -> "90s"`}; cmp.Diff(want, diff) != "" {
		t.Errorf("diff = %q", diff)
	}
}

func TestSecretSource(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "s")
	if err := os.WriteFile(file, []byte(" from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := testSession(map[string]string{"V": "from-env"})
	s.o.In = strings.NewReader("from-stdin\n")
	for _, tt := range []struct {
		src  secretSource
		want string
	}{
		{secretSource{file: file}, "from-file"},
		{secretSource{env: "V"}, "from-env"},
		{secretSource{stdin: true}, "from-stdin"},
	} {
		got, err := tt.src.read(s)
		if err != nil || got.GetValue() != tt.want {
			t.Errorf("%+v: got %q, %v", tt.src, got.GetValue(), err)
		}
	}
	if _, err := (&secretSource{env: "V", stdin: true}).read(s); err == nil {
		t.Error("two sources at once were accepted")
	}
	if _, err := (&secretSource{env: "UNSET"}).read(s); err == nil {
		t.Error("an empty secret was accepted")
	}
}

// FuzzParseDocuments: whatever a file holds, reading it does not panic, and what it yields has a kind and a name.
func FuzzParseDocuments(f *testing.F) {
	f.Add([]byte(twoDocuments))
	f.Add([]byte("---\n---\n"))
	f.Add([]byte("kind: model\nmetadata: {name: m}\nprices: {input: 1, cached_input: null}"))
	f.Add([]byte("kind: [group]\nmetadata: 3"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		docs, err := testSession(map[string]string{"CRED": "s"}).parseDocuments(raw)
		if err != nil {
			return
		}
		for _, d := range docs {
			if d.r.GetMetadata().GetName() == "" || d.kind.name == "" {
				t.Errorf("a document without kind or name got through: %q", raw)
			}
		}
	})
}
