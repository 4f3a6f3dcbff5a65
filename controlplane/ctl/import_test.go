package ctl

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

const priceList = `{
  "sample_spec": {"input_cost_per_token": "a number", "output_cost_per_token": 0},
  "big":   {"input_cost_per_token": 2.5e-6, "cache_read_input_token_cost": 1.25e-06, "output_cost_per_token": 0.00001, "mode": "chat"},
  "small": {"input_cost_per_token": 3.75e-8, "output_cost_per_token": 1.5e-7},
  "image": {"output_cost_per_image": 0.04},
  "half":  {"input_cost_per_token": 1e-6}
}`

func TestParsePriceList(t *testing.T) {
	price := func(name string, in, out int64, cached *int64) *resourcev1.Model {
		return &resourcev1.Model{Metadata: &resourcev1.Metadata{Name: name}, Prices: &resourcev1.Prices{Input: in, Output: out, CachedInput: cached}}
	}
	big := price("big", 2_500_000_000, 10_000_000_000, proto.Int64(1_250_000_000))
	small := price("small", 37_500_000, 150_000_000, nil)
	for _, tt := range []struct {
		name  string
		match []string
		want  []*resourcev1.Model
	}{
		{"all that have prices", nil, []*resourcev1.Model{big, small}},
		{"by pattern", []string{"sm*", "x?"}, []*resourcev1.Model{small}},
		{"none", []string{"nothing*"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parsePriceList([]byte(priceList), tt.match)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, protocmp.Transform()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for name, bad := range map[string]string{
		"no object":      `[]`,
		"negative price": `{"m": {"input_cost_per_token": -1, "output_cost_per_token": 1}}`,
		"absurd price":   `{"m": {"input_cost_per_token": 1e99, "output_cost_per_token": 1}}`,
	} {
		if _, err := parsePriceList([]byte(bad), nil); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if _, err := parsePriceList([]byte(priceList), []string{"["}); err == nil {
		t.Error("a broken pattern was accepted")
	}
}

func TestPerMillion(t *testing.T) {
	for in, want := range map[json.Number]int64{
		"0": 0, "1e-6": 1_000_000_000, "0.0000000375": 37_500_000, "1.4e-15": 1, "1.5e-15": 2, "4e-16": 0, "1e-400000000": 0, "1": 1_000_000_000_000_000,
	} {
		if got, err := perMillion(in); err != nil || got != want {
			t.Errorf("perMillion(%s) = %d, %v; want %d", in, got, err, want)
		}
	}
}

// FuzzParsePriceList: whatever a list holds, reading it does not panic and yields no negative price.
func FuzzParsePriceList(f *testing.F) {
	f.Add([]byte(priceList))
	f.Add([]byte(`{"m":{"input_cost_per_token":"1e-6","output_cost_per_token":1e-400000}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		list, err := parsePriceList(raw, nil)
		if err != nil {
			return
		}
		for _, m := range list {
			if p := m.GetPrices(); p.GetInput() < 0 || p.GetOutput() < 0 || p.GetCachedInput() < 0 {
				t.Errorf("a negative price: %v", p)
			}
		}
	})
}
