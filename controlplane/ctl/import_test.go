package ctl

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func stored(name string, label string, p *resourcev1.Prices) *resourcev1.Model {
	m := &resourcev1.Model{Metadata: &resourcev1.Metadata{Name: name, Etag: "7", Labels: map[string]string{"team": "x"}}, Prices: p}
	if label != "" {
		m.Metadata.Labels[pricesLabel] = label
	}
	return m
}

// What an import of a list with everything in it shows, over models of every kind.
func TestImportPreview(t *testing.T) {
	raw, err := os.ReadFile("testdata/prices.json")
	if err != nil {
		t.Fatal(err)
	}
	list, err := parsePriceList(raw, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list.models {
		if err := protovalidate.Validate(m); err != nil {
			t.Errorf("%s would be refused: %v", m.GetMetadata().GetName(), err)
		}
	}
	have := map[string]*resourcev1.Model{
		"gpt-plain":  stored("gpt-plain", "litellm sha256:old", &resourcev1.Prices{Input: 3e9, CachedInput: proto.Int64(1e9), Output: 10e9, Reasoning: proto.Int64(1)}),
		"by-hand":    stored("by-hand", "", &resourcev1.Prices{Input: 1e9, Output: 1e9}),
		"nothing":    stored("nothing", "", nil),
		"up-to-date": stored("up-to-date", "", &resourcev1.Prices{Input: 1e9, Output: 2e9}),
	}
	before := map[string]*resourcev1.Model{}
	for name, m := range have {
		before[name] = proto.CloneOf(m)
	}
	var out bytes.Buffer
	steps := planImport(list, have, false)
	printImport(&out, list, steps, false, 0)
	out.WriteString("\noverwriting:\n")
	printImport(&out, list, planImport(list, have, true), true, 0)
	out.WriteString("\npassed over:\n")
	for _, p := range list.passed {
		out.WriteString(p.name + ": " + p.why + "\n")
	}
	golden(t, "import.golden", out.String())
	for name, m := range have {
		if !proto.Equal(before[name], m) {
			t.Errorf("the plan changed %s", name)
		}
	}
	for _, step := range steps {
		md := step.model.GetMetadata()
		if current := have[md.GetName()]; current != nil && (md.GetEtag() != "7" || md.GetLabels()["team"] != "x") {
			t.Errorf("%s would lose its guard or a label: %v", md.GetName(), md)
		}
		if md.GetLabels()[pricesLabel] != "litellm "+list.digest {
			t.Errorf("%s does not say where its prices are from: %v", md.GetName(), md)
		}
	}
}

func TestPriceListByPattern(t *testing.T) {
	raw := []byte(`{"a1": {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}, "b1": {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}}`)
	for pattern, want := range map[string]string{"a*": "a1", "b?": "b1", "c*": "", "*1": "a1 b1"} {
		list, err := parsePriceList(raw, []string{pattern})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, m := range list.models {
			names = append(names, m.GetMetadata().GetName())
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: %q, want %q", pattern, got, want)
		}
	}
}

func TestHostilePriceLists(t *testing.T) {
	price := func(in string) string {
		return "{\n\"m\": {\"input_cost_per_token\": " + in + ", \"output_cost_per_token\": 1e-6}}"
	}
	for name, tt := range map[string]struct{ in, want string }{
		"no object":       {`[]`, "line 1: not a JSON object of models"},
		"no JSON":         {"{\n\n\"m\": }", "line 3: not JSON: invalid character '}' looking for beginning of value"},
		"cut":             {"{\n\"m\": {", "line 2: not JSON: unexpected end of JSON input"},
		"something after": {"{}\n\n{}", "line 3: not JSON: invalid character '{' after top-level value"},
		"negative":        {price("-1e-6"), `line 2: "m": input_cost_per_token: "-1e-6" is no price`},
		"negative zero":   {price("-0"), `line 2: "m": input_cost_per_token: "-0" is no price`},
		"absurd":          {price("1.1"), `line 2: "m": input_cost_per_token: "1.1" is too much for a price`},
		"beyond a float":  {price("1e999"), `line 2: "m": input_cost_per_token: "1e999" is no price`},
		"absurd tier":     {`{"m": {"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6, "input_cost_per_token_above_200k_tokens": 7}}`, `line 1: "m": input_cost_per_token_above_200k_tokens: "7" is too much for a price`},
		"absurd image":    {`{"m": {"output_cost_per_image": 1000001, "mode": "image_generation"}}`, `line 1: "m": output_cost_per_image: "1000001" is too much for a price`},
		"twice":           {"{\"m\": {},\n\"n\": {},\n\"m\": {}}", `line 3: the model "m" comes twice`},
		"too deep":        {`{"m": ` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`, "line 1: not JSON: invalid character '[' exceeded max depth"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parsePriceList([]byte(tt.in), nil)
			if err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
	var many strings.Builder
	many.WriteString("{")
	for i := range maxListed + 1 {
		many.WriteString(`"` + strings.Repeat("m", 1+i%7) + string(rune('a'+i%26)) + strings.Repeat("x", i/182) + `":1,`)
	}
	many.WriteString(`"end":1}`)
	if _, err := parsePriceList([]byte(many.String()), nil); err == nil {
		t.Error("a list of too many models was read")
	}
	if _, err := parsePriceList([]byte(`{}`), []string{"["}); err == nil || !strings.Contains(err.Error(), "--only") {
		t.Errorf("a broken pattern: %v", err)
	}
	if _, err := testSession(nil).readPriceList(bytes.NewReader(make([]byte, maxPriceList+1))); err == nil {
		t.Error("a list that is too large was read")
	}
}

func TestNanoUSD(t *testing.T) {
	for in, want := range map[json.Number]int64{
		"0": 0, "1e-6": 1_000_000_000, "0.0000000375": 37_500_000, "1.4e-15": 1, "1.5e-15": 2, "4e-16": 0, "1e-400000000": 0, "1": 1_000_000_000_000_000,
	} {
		if got, err := nanoUSD(in, 1e15); err != nil || got != want {
			t.Errorf("nanoUSD(%s) = %d, %v; want %d", in, got, err, want)
		}
	}
	if got, err := nanoUSD("0.04", 1e9); got != 40_000_000 || err != nil {
		t.Errorf("an image: %d, %v", got, err)
	}
}

// A list with another digest is refused before anything is asked.
func TestImportIsPinned(t *testing.T) {
	file := filepath.Join(t.TempDir(), "list.json")
	if err := os.WriteFile(file, []byte(`{"m": {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := testSession(nil).openPriceList(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) error {
		s := testSession(nil)
		s.o.Out, s.o.Err = &bytes.Buffer{}, &bytes.Buffer{}
		c := importLiteLLMCommand(s, models())
		c.SilenceErrors, c.SilenceUsage = true, true
		c.SetArgs(append([]string{file}, args...))
		return c.Execute()
	}
	if err := run("--digest", "sha256:"+strings.Repeat("0", 64)); err == nil || !strings.Contains(err.Error(), "another list") || !strings.Contains(err.Error(), list.digest) {
		t.Errorf("another digest: %v", err)
	}
	// With the right one it goes on, to where a token would be needed.
	for _, digest := range []string{list.digest, strings.TrimPrefix(list.digest, "sha256:")} {
		if err := run("--digest", digest); err == nil || !strings.Contains(err.Error(), "token") {
			t.Errorf("the right digest: %v", err)
		}
	}
	if err := run("--yes", "--dry-run"); err == nil || !strings.Contains(err.Error(), "either") {
		t.Errorf("both: %v", err)
	}
	if err := run("--only", "x*"); err == nil || !strings.Contains(err.Error(), "no model") {
		t.Errorf("nothing matches: %v", err)
	}
}

// FuzzParsePriceList: whatever a list holds, reading it does not panic, and what it yields the server would take.
func FuzzParsePriceList(f *testing.F) {
	raw, err := os.ReadFile("testdata/prices.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"m": {"input_cost_per_token": "1e-6", "output_cost_per_token": 1e-6}}`))
	f.Add([]byte(`{"m": {"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6, "input_cost_per_token_above_1k_tokens_flex": 0}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		list, err := parsePriceList(raw, nil)
		if err != nil {
			return
		}
		for _, m := range list.models {
			if err := protovalidate.Validate(m); err != nil {
				t.Errorf("%v: %v", m, err)
			}
		}
	})
}
