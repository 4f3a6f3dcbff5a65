package provider

import (
	"errors"
	"fmt"
	"strings"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/operation"
	"fairway/pkg/provider"
)

// New returns the adapter of a channel. An error says which of its fields is missing or makes no sense.
func New(c Channel) (Adapter, error) {
	facts, ok := provider.Lookup(c.Provider, c.Preset)
	if !ok {
		return nil, fmt.Errorf("provider: there is none of number %d and preset %q", c.Provider, c.Preset)
	}
	if err := check(&c); err != nil {
		return nil, err
	}
	switch resourcev1.Provider(c.Provider) {
	case resourcev1.Provider_PROVIDER_ANTHROPIC:
		return newAnthropic(facts, &c), nil
	case resourcev1.Provider_PROVIDER_GEMINI:
		return newGemini(facts, &c), nil
	case resourcev1.Provider_PROVIDER_AZURE_OPENAI:
		return newAzure(facts, &c), nil
	case resourcev1.Provider_PROVIDER_BEDROCK:
		return newBedrock(facts, &c)
	case resourcev1.Provider_PROVIDER_VERTEX:
		return newVertex(facts, &c)
	}
	return newCompatible(facts, &c), nil
}

// check refuses what could turn a request elsewhere. The control plane refuses it too; this is the last place before the
// wire.
func check(c *Channel) error {
	for _, f := range [...]struct{ name, value string }{
		{"api_version", c.APIVersion}, {"region", c.Region}, {"project", c.Project},
	} {
		for i := range len(f.value) {
			if ch := f.value[i]; !unreserved(ch) && ch != ':' {
				return fmt.Errorf("%s: has characters that no path may have", f.name)
			}
		}
		if dots(f.value) {
			return fmt.Errorf("%s: is a dot segment", f.name)
		}
	}
	if c.Path != "" && (c.Path[0] != '/' || c.Path[len(c.Path)-1] == '/') {
		return errors.New("path: must start with a slash and not end with one")
	}
	for i := range len(c.Path) {
		if b := c.Path[i]; b <= ' ' || b >= 0x7f || b == '?' || b == '#' {
			return errors.New("path: has characters that no path may have")
		}
	}
	return nil
}

// served is what every adapter knows of its provider: which operations it serves, and what their bodies need.
type served struct {
	facts *provider.Facts
	rules [operation.Count][]Rule
}

func newServed(f *provider.Facts) served {
	s := served{facts: f}
	for _, q := range f.Quirks {
		for op := range operation.Count {
			if q.Operations.Has(operation.Operation(op)) {
				s.rules[op] = append(s.rules[op], Rule{Action: q.Action, Path: q.Path, Value: q.Value})
			}
		}
	}
	return s
}

// Plan implements Adapter. Where conversations become Gemini's or Bedrock's, the answer is Generate or Converse whether it
// shall be a stream or not: with Request.Stream they go where StreamGenerate and ConverseStream are.
func (s *served) Plan(op operation.Operation, model string) (operation.Operation, bool) {
	if model == "" && len(s.facts.Models) > 0 {
		return operation.Unknown, false // the model decides
	}
	return s.facts.Serves(op, model)
}

// Rules implements Adapter.
func (s *served) Rules(op operation.Operation) []Rule {
	if int(op) >= len(s.rules) {
		return nil
	}
	return s.rules[op]
}

// Unframe implements Adapter: nearly all answer with server-sent events.
func (s *served) Unframe(operation.Operation) Unframer { return nil }

// base takes the version path off the end of a channel's path. A channel may name another version than the provider's usual
// one ("/v1alpha", "/api/coding/paas/v4"): other is true, then, and version is all of the path that the channel gives. The
// resource has no /v1 at its end any more, so that half of a version path is one, too.
func base(path, version string) (prefix, found string, other bool) {
	if p, ok := strings.CutSuffix(path, version); ok {
		return p, version, false
	}
	if half, ok := strings.CutSuffix(version, "/v1"); ok && half != "" {
		if p, ok := strings.CutSuffix(path, half); ok {
			return p, version, false
		}
	}
	last := path[strings.LastIndexByte(path, '/')+1:]
	if len(last) >= 2 && last[0] == 'v' && last[1] >= '0' && last[1] <= '9' {
		return "", path, true
	}
	return path, version, false
}
