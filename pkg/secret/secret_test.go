package secret

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

const canary = "canary-7f3a"

// holders are the ways in which a secret lies in other values. Those with unexported fields are printed by reflection.
func holders() map[string]any {
	s := New(canary)
	return map[string]any{
		"value":            s,
		"pointer":          &s,
		"field":            struct{ S String }{s},
		"unexported field": struct{ s String }{s},
		"pointer to field": &struct{ s String }{s},
		"slice":            []String{s},
		"map":              map[string]String{"k": s},
		"map key":          map[String]int{s: 1},
		"interface":        struct{ v any }{s},
		"deep":             struct{ a []struct{ m map[int]*String } }{[]struct{ m map[int]*String }{{map[int]*String{1: &s}}}},
		"error":            fmt.Errorf("login with %v failed", s),
	}
}

func TestFormattersRedact(t *testing.T) {
	for name, h := range holders() {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%t", "%10.3s", "%p", "%c", "%U"} {
			out := fmt.Sprintf(verb, h)
			hex := fmt.Sprintf("%x", canary)
			if strings.Contains(out, canary) || strings.Contains(strings.ToLower(out), hex) || strings.Contains(out, canary[:3]) {
				t.Errorf("%s printed with %s: %s", name, verb, out)
			}
		}
		if out := fmt.Sprintln(h); strings.Contains(out, canary) {
			t.Errorf("%s with Sprintln: %s", name, out)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%40s"} {
		if got := fmt.Sprintf(verb, New(canary)); got != redacted {
			t.Errorf("%s prints %q, want %q", verb, got, redacted)
		}
	}
}

func TestLogsRedact(t *testing.T) {
	for name, h := range holders() {
		var text, js bytes.Buffer
		slog.New(slog.NewTextHandler(&text, nil)).Info("m", "a", h, slog.Group("g", "b", h))
		slog.New(slog.NewJSONHandler(&js, nil)).Info("m", "a", h, slog.Group("g", "b", h))
		for _, out := range []string{text.String(), js.String()} {
			if strings.Contains(out, canary) {
				t.Errorf("%s logged: %s", name, out)
			}
		}
	}
}

func TestMarshallersRedact(t *testing.T) {
	v := struct{ S String }{New(canary)}
	js, err := json.Marshal(v)
	if err != nil || string(js) != `{"S":"[redacted]"}` {
		t.Errorf("JSON: %s, %v", js, err)
	}
	keys, err := json.Marshal(map[String]int{v.S: 1})
	if err != nil || strings.Contains(string(keys), canary) {
		t.Errorf("JSON map key: %s, %v", keys, err)
	}
	y, err := yaml.Marshal(v)
	if err != nil || strings.Contains(string(y), canary) {
		t.Errorf("YAML: %s, %v", y, err)
	}
	x, err := xml.Marshal(v.S)
	if err != nil || strings.Contains(string(x), canary) {
		t.Errorf("XML: %s, %v", x, err)
	}
}

func TestString(t *testing.T) {
	s := New(canary)
	if s.Reveal() != canary || s.Empty() {
		t.Error("the text is lost")
	}
	if !s.Equal(New(canary)) || s.Equal(New("x")) || s.Equal(String{}) || !(String{}).Equal(New("")) {
		t.Error("Equal is wrong")
	}
	// cmp uses Equal, so tests can compare structs that hold secrets.
	if diff := cmp.Diff(struct{ S String }{s}, struct{ S String }{New(canary)}); diff != "" {
		t.Errorf("equal secrets differ:\n%s", diff)
	}
	var zero String
	if zero.Reveal() != "" || !zero.Empty() || fmt.Sprint(zero) != "" || New("") != zero {
		t.Error("the zero value is not the empty secret")
	}
	if js, err := json.Marshal(zero); err != nil || string(js) != `""` {
		t.Errorf("the empty secret is %s in JSON, %v", js, err)
	}
}

func TestFingerprint(t *testing.T) {
	a, b := Fingerprint("a"), Fingerprint("b")
	if a == b || a != Fingerprint("a") || len(a) != 8 || strings.Trim(a, "0123456789abcdef") != "" {
		t.Errorf("fingerprints %q and %q", a, b)
	}
	if Fingerprint("") != "" {
		t.Error("nothing has a fingerprint")
	}
}
