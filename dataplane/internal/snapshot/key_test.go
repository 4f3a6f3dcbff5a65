package snapshot

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// compiledKey is a key without anything but what st says.
func compiledKey(t testing.TB, st *syncv1.KeyState) *Key {
	t.Helper()
	mac := macOf(1)
	st.Mac = mac[:]
	f, err := compile(keyKind, "k", 1, body(t, st))
	if err != nil {
		t.Fatal(err)
	}
	k, _ := f.(*Key)
	return k
}

func TestAllowsModel(t *testing.T) {
	tests := []struct {
		name            string
		allowed, denied []string
		want            map[string]bool
	}{
		{"no rule", nil, nil, map[string]bool{"a": true, "": true}},
		{"allowed", []string{"a", "b*"}, nil, map[string]bool{"a": true, "a1": false, "b": true, "b1": true, "c": false}},
		{"denied", nil, []string{"a", "b*"}, map[string]bool{"a": false, "a1": true, "b": false, "b1": false, "c": true}},
		{"denied of what is allowed", []string{"a*"}, []string{"a-large*", "a-beta"},
			map[string]bool{"a": true, "a-large": false, "a-large-2": false, "a-beta": false, "a-beta-2": true, "b": false}},
		{"both the same", []string{"a"}, []string{"a"}, map[string]bool{"a": false, "b": false}},
		{"all denied", []string{"a"}, []string{"*"}, map[string]bool{"a": false, "b": false}},
		{"all allowed but one", []string{"*"}, []string{"a"}, map[string]bool{"a": false, "b": true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := compiledKey(t, &syncv1.KeyState{Models: tt.allowed, DeniedModels: tt.denied})
			got := make(map[string]bool)
			for model := range tt.want {
				got[model] = k.AllowsModel(model)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAllowsClient(t *testing.T) {
	tests := []struct {
		name    string
		clients []string
		want    map[string]bool
	}{
		{"no rule", nil, map[string]bool{"": true, "curl/8": true}},
		{"a rule", []string{"claude-cli/", "openai/python 1."}, map[string]bool{
			"": false, "claude-cli/": true, "claude-cli/2.0 (external)": true, "Claude-CLI/2": true, "claude-cli": false,
			"OpenAI/Python 1.99": true, "OpenAI/Python 2.0": false, "x claude-cli/": false, "\xff\xfe": false,
		}},
		{"a rule in capitals", []string{"Curl/"}, map[string]bool{"curl/8": true, "CURL/8": true}},
		{"signs are no letters", []string{"[x]"}, map[string]bool{"[x]": true, "{x}": false}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := compiledKey(t, &syncv1.KeyState{Clients: tt.clients})
			got := make(map[string]bool)
			for agent := range tt.want {
				got[agent] = k.AllowsClient([]byte(agent))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if k.AllowsClient(nil) != tt.want[""] {
				t.Errorf("AllowsClient(nil) = %v", !tt.want[""])
			}
		})
	}
}

func TestKeysWithoutRulesHaveNone(t *testing.T) {
	k := compiledKey(t, &syncv1.KeyState{TenantId: "t", Limits: &syncv1.LimitsState{Fallback: 1}})
	if k.rules != nil || k.Limits() != nil || k.Accounts() != nil || !k.Owned() {
		t.Errorf("key = %+v, want one with a tenant and no rules", k)
	}
	k = compiledKey(t, &syncv1.KeyState{AccountIds: []string{"b", "a", "b"}})
	if diff := cmp.Diff([]AccountID{"a", "b"}, k.Accounts()); diff != "" || k.Owned() || k.Limits() != nil {
		t.Errorf("accounts (-want +got):\n%s", diff)
	}
}
