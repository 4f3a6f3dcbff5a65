package ctl

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func TestSetPrices(t *testing.T) {
	priced := func() *resourcev1.Model {
		return &resourcev1.Model{
			Metadata: &resourcev1.Metadata{Name: "m", Etag: "3", Labels: map[string]string{pricesLabel: "litellm sha256:1", "team": "x"}},
			Prices: &resourcev1.Prices{
				Input: 1e9, CachedInput: proto.Int64(5e8), Output: 2e9,
				Tiers:    []*resourcev1.PriceTier{{AboveInputTokens: 200_000, Rates: &resourcev1.Rates{Input: 3e9, Output: 4e9}}},
				Variants: []*resourcev1.PriceVariant{{Variant: 2, Rates: &resourcev1.Rates{Input: 5e8, Output: 1e9}}},
			},
		}
	}
	bare := func() *resourcev1.Model { return &resourcev1.Model{Metadata: &resourcev1.Metadata{Name: "m"}} }
	for name, tt := range map[string]struct {
		from *resourcev1.Model
		args string
		want string // what changes, or the error
	}{
		"a new model":         {bare(), "--input 2.50 --output 10 --cache-read 0.25", "input none -> $2.5, cache-read none -> $0.25, output none -> $10"},
		"half a price":        {bare(), "--input 2.50", "the model has no price yet: give --input and --output, or --image or --request"},
		"pictures":            {bare(), "--image 0.04", "input none -> $0, output none -> $0, image none -> $0.04"},
		"nothing":             {priced(), "", "nothing to set: give at least one price, see fairway model set --help"},
		"one of them":         {priced(), "--output 3", "output $2 -> $3"},
		"free from the cache": {priced(), "--cache-read 0", "cache-read $0.5 -> $0"},
		"as input again":      {priced(), "--cache-read none", "cache-read $0.5 -> none"},
		"all the others": {priced(), "--cache-write 1.1 --cache-write-long 1.2 --reasoning 1.3 --audio-input 1.4 --audio-output 1.5 --request 1.6",
			"cache-write none -> $1.1, cache-write-long none -> $1.2, audio-input none -> $1.4, reasoning none -> $1.3, audio-output none -> $1.5, request none -> $1.6"},
		"a tier that is there": {priced(), "--above 200000 --input 6", "above-200000 input $3 -> $6"},
		"another tier":         {priced(), "--above 100000 --input 6 --output 7", "above-100000 input none -> $6, above-100000 output none -> $7"},
		"half a tier":          {priced(), "--above 100000 --input 6", "there is no such price yet: give --input and --output"},
		"a variant":            {priced(), "--variant flex --cache-read 0.1", "flex cache-read none -> $0.1"},
		"another variant":      {priced(), "--variant priority --input 6 --output 7", "priority input none -> $6, priority output none -> $7"},
		"a variant's tier":     {priced(), "--variant flex --above 5 --input 6 --output 7", "flex above-5 input none -> $6, flex above-5 output none -> $7"},
		"of no variant":        {priced(), "--variant batch --above 5 --input 6 --output 7", "batch has no price yet: give it one without --above first"},
		"no variant":           {priced(), "--variant fast --input 6 --output 7", `--variant: "fast" is not one of batch, flex, priority`},
		"tier of no model":     {bare(), "--above 5 --input 6 --output 7", "the model has no price yet: give it one without --variant and --above first"},
		"negative tier":        {priced(), "--above -5 --input 6 --output 7", "--above must be more than nothing"},
		"pictures of a tier":   {priced(), "--above 5 --image 6", "--image and --request cost the same however a request is served: give them without --variant and --above"},
		"negative":             {priced(), "--input -1", `--input: "-1" is not a price in USD per million tokens, such as 2.50`},
		"absurd":               {priced(), "--reasoning 1000001", `--reasoning: "1000001" is not a price in USD per million tokens, such as 2.50`},
		"later": {priced(), "--from 2027-01-01 --input 9", "from 2027-01-01T00:00:00Z input none -> $9, from 2027-01-01T00:00:00Z cache-read none -> $0.5, " +
			"from 2027-01-01T00:00:00Z output none -> $2, from 2027-01-01T00:00:00Z above-200000 input none -> $3, from 2027-01-01T00:00:00Z above-200000 output none -> $4, " +
			"from 2027-01-01T00:00:00Z flex input none -> $0.5, from 2027-01-01T00:00:00Z flex output none -> $1"},
		"never": {priced(), "--from never --input 9", `--from: "never" is not a date (2027-01-31) or a time (RFC 3339)`},
	} {
		t.Run(name, func(t *testing.T) {
			before := proto.CloneOf(tt.from)
			next, err := setPrices(tt.from, tt.args)
			var got string
			if err != nil {
				got = err.Error()
			} else {
				got = strings.Join(differences(tt.from, next), ", ")
				if next.GetMetadata().GetLabels()[pricesLabel] != "" || next.GetMetadata().GetLabels()["team"] != tt.from.GetMetadata().GetLabels()["team"] {
					t.Errorf("labels: %v", next.GetMetadata().GetLabels())
				}
				if next.GetMetadata().GetEtag() != tt.from.GetMetadata().GetEtag() {
					t.Error("the guard is gone")
				}
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if !proto.Equal(before, tt.from) {
				t.Error("what is stored was written to")
			}
		})
	}
}

func setPrices(m *resourcev1.Model, args string) (*resourcev1.Model, error) {
	var f priceFlags
	fs := pflag.NewFlagSet("set", pflag.ContinueOnError)
	f.bind(fs)
	if err := fs.Parse(strings.Fields(args)); err != nil {
		return nil, err
	}
	return f.set(m, fs)
}

// Later prices stay in the order of their times, and each begins as the one before it.
func TestSetLaterPrices(t *testing.T) {
	m, err := setPrices(&resourcev1.Model{Metadata: &resourcev1.Metadata{Name: "m"}}, "--input 1 --output 1")
	for _, args := range []string{"--from 2028-01-01 --input 3", "--from 2027-01-01 --input 2", "--from 2028-01-01 --output 4", "--from 2029-01-01 --request 5"} {
		if err == nil {
			m, err = setPrices(m, args)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range amounts(m) {
		got = append(got, strings.Replace(a.name, "-01-01T00:00:00Z", "", 1)+"="+usdNumber(a.nano))
	}
	want := "input=1 output=1 from 2027 input=2 from 2027 output=1 from 2028 input=3 from 2028 output=4 " +
		"from 2029 input=3 from 2029 output=4 from 2029 request=5"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
}

// The list says where each price is from, and shows a built-in one only where there is no resource.
func TestPrintModels(t *testing.T) {
	model := func(name, label string, p *resourcev1.Prices) *resourcev1.Model {
		m := &resourcev1.Model{Metadata: &resourcev1.Metadata{Name: name}, Prices: p}
		if label != "" {
			m.Metadata.Labels = map[string]string{pricesLabel: label}
		}
		return m
	}
	items := []resource{
		model("imported", "litellm sha256:0123456789abcdef", &resourcev1.Prices{Input: 1e9, CachedInput: proto.Int64(0), Output: 2e9, AudioInput: proto.Int64(1)}),
		model("mine", "", &resourcev1.Prices{Input: 1e9, Output: 2e9, Tiers: []*resourcev1.PriceTier{{}}, Variants: []*resourcev1.PriceVariant{{Variant: 2}}}),
		model("unpriced", "", nil),
	}
	known := &adminv1.GetBuiltInPricesResponse{AsOf: "2026-03", Models: []*resourcev1.Model{
		model("known", "", &resourcev1.Prices{Input: 25e7, Output: 5e9}), model("mine", "", &resourcev1.Prices{Input: 7e9, Output: 7e9}),
	}}
	var out bytes.Buffer
	s := testSession(nil)
	s.o.Out, s.output = &out, tableFormat
	if err := s.printModels(items, known); err != nil {
		t.Fatal(err)
	}
	s.output = jsonFormat
	if err := s.printModels(items[1:2], known); err != nil {
		t.Fatal(err)
	}
	golden(t, "models.golden", out.String())
}
