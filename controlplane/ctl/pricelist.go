package ctl

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

const (
	// maxPriceList is how large a list of prices may be, in bytes; the published one has about 2 MiB.
	maxPriceList = 16 << 20
	// maxListed is how many models it may have.
	maxListed = 20_000
)

// priceList is what a published list says, of the models that were asked for.
type priceList struct {
	models []*resourcev1.Model // by name
	passed []passedOver        // by name
	digest string              // of the file: "sha256:" and hexadecimal
}

// passedOver is a model whose price cannot be taken over.
type passedOver struct{ name, why string }

// readPriceList reads a file in bounds.
func (s *session) readPriceList(r io.Reader) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxPriceList+1))
	if err != nil {
		return nil, fmt.Errorf("read the list: %w", err)
	}
	if len(raw) > maxPriceList {
		return nil, fmt.Errorf("the list is larger than %d MiB", maxPriceList>>20)
	}
	return raw, nil
}

// parsePriceList reads a list in LiteLLM's format: a JSON object of model names, each with costs in USD per token. Whoever
// wrote it is not trusted: a price that is negative or beyond all reason, a name that comes twice and JSON that is none
// refuse the whole list.
func parsePriceList(raw []byte, only []string) (*priceList, error) {
	for _, p := range only {
		if _, err := path.Match(p, ""); err != nil {
			return nil, fmt.Errorf("--only %q: %w", p, err)
		}
	}
	sum := sha256.Sum256(raw)
	list := &priceList{digest: "sha256:" + hex.EncodeToString(sum[:])}
	var whole map[string]json.RawMessage
	if err := json.Unmarshal(raw, &whole); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return nil, fmt.Errorf("line %d: not JSON: %w", lineOf(raw, syntax.Offset), err)
		}
		return nil, errors.New("line 1: not a JSON object of models")
	}
	if len(whole) > maxListed {
		return nil, fmt.Errorf("the list has more than %d models", maxListed)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	_, _ = dec.Token() // the brace, as is known by now
	seen := make(map[string]bool, len(whole))
	for dec.More() {
		token, err := dec.Token()
		name, ok := token.(string)
		line := lineOf(raw, dec.InputOffset())
		if err != nil || !ok {
			return nil, fmt.Errorf("line %d: not JSON: %w", line, err)
		}
		var entry json.RawMessage
		if err := dec.Decode(&entry); err != nil {
			return nil, fmt.Errorf("line %d: not JSON: %w", line, err)
		}
		if seen[name] {
			return nil, fmt.Errorf("line %d: the model %q comes twice", line, name)
		}
		seen[name] = true
		if !matches(name, only) {
			continue
		}
		p, why, err := listedPrices(entry)
		switch {
		case err != nil:
			return nil, fmt.Errorf("line %d: %q: %w", line, name, err)
		case why == "" && (!validName.MatchString(name) || len(name) > 128):
			why = "its name cannot be a resource's"
		}
		if why != "" {
			list.passed = append(list.passed, passedOver{name, why})
			continue
		}
		list.models = append(list.models, &resourcev1.Model{Metadata: &resourcev1.Metadata{Name: name}, Prices: p})
	}
	slices.SortFunc(list.models, func(a, b *resourcev1.Model) int {
		return cmp.Compare(a.GetMetadata().GetName(), b.GetMetadata().GetName())
	})
	slices.SortFunc(list.passed, func(a, b passedOver) int { return cmp.Compare(a.name, b.name) })
	return list, nil
}

// validName is the rule of metadata.name.
var validName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._:/@-]*[A-Za-z0-9])?$`)

func lineOf(raw []byte, offset int64) int {
	return 1 + bytes.Count(raw[:min(max(offset, 0), int64(len(raw)))], []byte("\n"))
}

func matches(name string, patterns []string) bool {
	for _, p := range patterns {
		if ok, err := path.Match(p, name); ok && err == nil {
			return true
		}
	}
	return len(patterns) == 0
}

// costs are what one case of a model costs, in nano-USD per million tokens, by the list's names without their suffixes.
type costs map[string]int64

// caseOf is a way of service and a length of input.
type caseOf struct {
	variant resourcev1.ServiceVariant
	above   int64
}

// costName takes a cost's name apart: input_cost_per_token_above_200k_tokens_priority.
var costName = regexp.MustCompile(`^(.+?)(?:_above_([0-9]{1,6})k_tokens)?(?:_(batches|flex|priority))?$`)

// listedPrices reads one entry. why says why it cannot be taken over; err refuses the list.
func listedPrices(raw json.RawMessage) (p *resourcev1.Prices, why string, err error) {
	entry, ok := objectOf(raw)
	if !ok {
		return nil, "it is no object", nil
	}
	cases := map[caseOf]costs{}
	var pieces costs = map[string]int64{}
	for key, value := range entry {
		name, c, ok := costCase(key)
		if !ok || string(value) == "null" {
			continue
		}
		n, ok := numberOf(value)
		if !ok {
			return nil, key + " is no number", nil
		}
		unit := int64(1e15)
		if byPiece(name) {
			unit = 1e9
		}
		amount, err := nanoUSD(n, unit)
		if err != nil {
			return nil, "", fmt.Errorf("%s: %w", key, err)
		}
		if byPiece(name) {
			pieces[name] = amount
			continue
		}
		if cases[c] == nil {
			cases[c] = costs{}
		}
		cases[c][name] = amount
	}
	var mode string
	_ = json.Unmarshal(entry["mode"], &mode)
	return assemble(cases, pieces, mode)
}

func objectOf(raw json.RawMessage) (members map[string]json.RawMessage, ok bool) {
	err := json.Unmarshal(raw, &members)
	return members, err == nil
}

// numberOf takes no number in quotes for one.
func numberOf(raw json.RawMessage) (n json.Number, ok bool) {
	if raw[0] == '"' {
		return "", false
	}
	err := json.Unmarshal(raw, &n)
	return n, err == nil
}

func byPiece(name string) bool {
	return name == "output_cost_per_image" || name == "input_cost_per_request"
}

// costCase says what a key of an entry is; false = nothing that we know.
func costCase(key string) (name string, c caseOf, ok bool) {
	if byPiece(key) {
		return key, c, true
	}
	// The hour of a cache is no length of input.
	m := costName.FindStringSubmatch(key)
	if m == nil {
		return "", c, false
	}
	switch m[1] {
	case "input_cost_per_token", "output_cost_per_token", "cache_read_input_token_cost", "cache_creation_input_token_cost",
		"cache_creation_input_token_cost_above_1hr", "output_cost_per_reasoning_token", "input_cost_per_audio_token",
		"output_cost_per_audio_token", "output_cost_per_image_token":
	default:
		return "", c, false
	}
	c.variant = map[string]resourcev1.ServiceVariant{
		"batches": resourcev1.ServiceVariant_SERVICE_VARIANT_BATCH, "flex": resourcev1.ServiceVariant_SERVICE_VARIANT_FLEX,
		"priority": resourcev1.ServiceVariant_SERVICE_VARIANT_PRIORITY,
	}[m[3]]
	if m[2] != "" {
		thousands, err := strconv.ParseInt(m[2], 10, 64)
		if err != nil || thousands == 0 {
			return "", c, false
		}
		c.above = thousands * 1000
	}
	return m[1], c, true
}

// assemble makes prices out of what was found.
func assemble(cases map[caseOf]costs, pieces costs, mode string) (*resourcev1.Prices, string, error) {
	base := cases[caseOf{}]
	_, in := base["input_cost_per_token"]
	_, out := base["output_cost_per_token"]
	image, images := pieces["output_cost_per_image"]
	_, imageTokens := base["output_cost_per_image_token"]
	drawn := mode == "image_generation"
	switch {
	case drawn && (imageTokens || out && images):
		return nil, "the tokens of its images cost otherwise than those of text", nil
	case drawn && images:
	case !in || !out && mode != "embedding":
		return nil, "it is not priced by tokens in and out", nil
	}
	r := listedRates(base, nil)
	p := &resourcev1.Prices{
		Input: r.GetInput(), CachedInput: r.CachedInput, CacheWrite: r.CacheWrite, CacheWriteLong: r.CacheWriteLong,
		Output: r.GetOutput(), Reasoning: r.Reasoning, AudioInput: r.AudioInput, AudioOutput: r.AudioOutput,
	}
	if drawn && images {
		p.Image = proto.Int64(image)
	}
	if request, ok := pieces["input_cost_per_request"]; ok {
		p.Request = proto.Int64(request)
	}
	if p.GetInput() == 0 && p.GetOutput() == 0 && p.GetImage() == 0 && p.GetRequest() == 0 {
		return nil, "it costs nothing there; if that is so, set it by hand", nil
	}
	p.Tiers = listedTiers(cases, resourcev1.ServiceVariant_SERVICE_VARIANT_UNSPECIFIED, base)
	for _, v := range []resourcev1.ServiceVariant{1, 2, 3} {
		own, ok := cases[caseOf{variant: v}]
		if !ok {
			continue
		}
		p.Variants = append(p.Variants, &resourcev1.PriceVariant{Variant: v, Rates: listedRates(own, base), Tiers: listedTiers(cases, v, own)})
	}
	if len(p.Tiers) > 8 {
		return nil, "it has more than 8 tiers", nil
	}
	return p, "", nil
}

// listedTiers are those of one variant, from short to long.
func listedTiers(cases map[caseOf]costs, v resourcev1.ServiceVariant, base costs) []*resourcev1.PriceTier {
	var tiers []*resourcev1.PriceTier
	for c, own := range cases {
		if c.variant == v && c.above > 0 {
			tiers = append(tiers, &resourcev1.PriceTier{AboveInputTokens: c.above, Rates: listedRates(own, base)})
		}
	}
	slices.SortFunc(tiers, func(a, b *resourcev1.PriceTier) int {
		return cmp.Compare(a.GetAboveInputTokens(), b.GetAboveInputTokens())
	})
	return tiers
}

// listedRates are those of one case. Input and output that it does not name are as in the base. Another price that it does
// not name falls back as always, but never below the base's: lists leave out what is the same.
func listedRates(own, base costs) *resourcev1.Rates {
	must := func(name string) int64 {
		if n, ok := own[name]; ok {
			return n
		}
		return base[name]
	}
	may := func(name string, otherwise int64) *int64 {
		if n, ok := own[name]; ok {
			return &n
		}
		if n, ok := base[name]; ok && n > otherwise {
			return &n
		}
		return nil
	}
	r := &resourcev1.Rates{Input: must("input_cost_per_token"), Output: must("output_cost_per_token")}
	r.CachedInput = may("cache_read_input_token_cost", r.GetInput())
	r.CacheWrite = may("cache_creation_input_token_cost", r.GetInput())
	written := r.GetInput()
	if r.CacheWrite != nil {
		written = r.GetCacheWrite()
	}
	r.CacheWriteLong = may("cache_creation_input_token_cost_above_1hr", written)
	r.Reasoning = may("output_cost_per_reasoning_token", r.GetOutput())
	r.AudioInput = may("input_cost_per_audio_token", r.GetInput())
	r.AudioOutput = may("output_cost_per_audio_token", r.GetOutput())
	return r
}

// nanoUSD multiplies USD by the unit, exactly, and rounds what is left to the nearest. The result is at most 10^15: a million
// USD per million tokens, or each.
func nanoUSD(usd json.Number, unit int64) (int64, error) {
	// A float first: it bounds the exponent, with which an exact number could be made to fill the memory.
	switch f, err := usd.Float64(); {
	case err != nil || f < 0 || strings.HasPrefix(usd.String(), "-"):
		return 0, fmt.Errorf("%q is no price", clipped(usd.String()))
	case f > 1e15/float64(unit):
		return 0, fmt.Errorf("%q is too much for a price", clipped(usd.String()))
	case f < 1e-18:
		return 0, nil
	}
	r, ok := new(big.Rat).SetString(usd.String())
	if !ok {
		return 0, fmt.Errorf("%q is no price", clipped(usd.String()))
	}
	r.Mul(r, big.NewRat(unit, 1))
	twice := new(big.Int).Add(new(big.Int).Mul(r.Num(), big.NewInt(2)), r.Denom())
	return twice.Quo(twice, new(big.Int).Mul(r.Denom(), big.NewInt(2))).Int64(), nil
}

// clipped is foreign text for a message.
func clipped(s string) string { return s[:min(len(s), 40)] }
