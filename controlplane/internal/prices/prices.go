// Package prices holds the table of what current models cost at their providers' list prices: what a model costs that nobody
// has set a price for. It is data of ours, in table.json: amounts are nano-USD per million tokens, and what is absent follows
// the others as in resource.v1.Rates.
//
// It refuses to fetch anything: prices change with a release, with `fairway model import`, or by hand, and never by
// themselves. Models that make images are not in the table: answers do not tell their tokens from those of text.
package prices

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// FirstVersion is the lowest version that a Table has; those of resources are lower.
const FirstVersion = 1 << 62

// Table is what was known of prices at some time. It is immutable.
type Table struct {
	// Models are sorted by name; they have prices and a name, and no id.
	Models []*resourcev1.Model
	// Version is what usage is stamped with: FirstVersion, plus the table's number times 2^32, plus the first four bytes of
	// the digest.
	Version int64
	// AsOf is the month of the figures, such as "2026-03".
	AsOf string
	// Digest is the SHA-256 of the file in hexadecimal.
	Digest string
}

//go:embed table.json
var file []byte

// BuiltIn is the table of this release.
func BuiltIn() (*Table, error) { return Parse(file) }

// list is the file.
type list struct {
	Version uint32  `json:"version"` // grows with every change
	AsOf    string  `json:"as_of"`
	Models  []entry `json:"models"`
}

// entry is what one model costs, under all its names.
type entry struct {
	Names []string `json:"names"`
	rates
	Image    *int64   `json:"image"`
	Request  *int64   `json:"request"`
	Tiers    []tier   `json:"tiers"`
	Batch    *variant `json:"batch"`
	Flex     *variant `json:"flex"`
	Priority *variant `json:"priority"`
}

type rates struct {
	Input          int64  `json:"input"`
	CachedInput    *int64 `json:"cached_input"`
	CacheWrite     *int64 `json:"cache_write"`
	CacheWriteLong *int64 `json:"cache_write_long"`
	AudioInput     *int64 `json:"audio_input"`
	Output         int64  `json:"output"`
	Reasoning      *int64 `json:"reasoning"`
	AudioOutput    *int64 `json:"audio_output"`
}

type tier struct {
	Above int64 `json:"above"`
	rates
}

type variant struct {
	rates
	Tiers []tier `json:"tiers"`
}

// Parse reads a table. It refuses fields that it does not know, names that come twice and a table without a number.
func Parse(raw []byte) (*Table, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	var l list
	if err := dec.Decode(&l); err != nil {
		return nil, fmt.Errorf("read the table of prices: %w", err)
	}
	if l.Version == 0 || l.Version >= 1<<29 {
		return nil, errors.New("the table of prices has no number")
	}
	sum := sha256.Sum256(raw)
	t := &Table{
		Version: FirstVersion | int64(l.Version)<<32 | int64(binary.BigEndian.Uint32(sum[:])),
		AsOf:    l.AsOf, Digest: hex.EncodeToString(sum[:]),
	}
	for _, e := range l.Models {
		for _, name := range e.Names {
			t.Models = append(t.Models, &resourcev1.Model{Metadata: &resourcev1.Metadata{Name: name}, Prices: e.prices()})
		}
	}
	slices.SortFunc(t.Models, func(a, b *resourcev1.Model) int {
		return cmp.Compare(a.GetMetadata().GetName(), b.GetMetadata().GetName())
	})
	for i := 1; i < len(t.Models); i++ {
		if name := t.Models[i].GetMetadata().GetName(); name == t.Models[i-1].GetMetadata().GetName() {
			return nil, fmt.Errorf("the table of prices has %q twice", name)
		}
	}
	return t, nil
}

func (e *entry) prices() *resourcev1.Prices {
	r := e.message()
	p := &resourcev1.Prices{
		Input: r.GetInput(), CachedInput: r.CachedInput, CacheWrite: r.CacheWrite, CacheWriteLong: r.CacheWriteLong,
		AudioInput: r.AudioInput, Output: r.GetOutput(), Reasoning: r.Reasoning, AudioOutput: r.AudioOutput,
		Image: e.Image, Request: e.Request, Tiers: tiers(e.Tiers),
	}
	for _, v := range []struct {
		kind resourcev1.ServiceVariant
		v    *variant
	}{
		{resourcev1.ServiceVariant_SERVICE_VARIANT_BATCH, e.Batch},
		{resourcev1.ServiceVariant_SERVICE_VARIANT_FLEX, e.Flex},
		{resourcev1.ServiceVariant_SERVICE_VARIANT_PRIORITY, e.Priority},
	} {
		if v.v != nil {
			p.Variants = append(p.Variants, &resourcev1.PriceVariant{Variant: v.kind, Rates: v.v.message(), Tiers: tiers(v.v.Tiers)})
		}
	}
	return proto.CloneOf(p) // names of one entry share nothing
}

func tiers(list []tier) []*resourcev1.PriceTier {
	var out []*resourcev1.PriceTier
	for _, t := range list {
		out = append(out, &resourcev1.PriceTier{AboveInputTokens: t.Above, Rates: t.message()})
	}
	return out
}

func (r *rates) message() *resourcev1.Rates {
	return &resourcev1.Rates{
		Input: r.Input, CachedInput: r.CachedInput, CacheWrite: r.CacheWrite, CacheWriteLong: r.CacheWriteLong,
		AudioInput: r.AudioInput, Output: r.Output, Reasoning: r.Reasoning, AudioOutput: r.AudioOutput,
	}
}
