// Package provider is what is known of every provider and every service that speaks OpenAI's API with differences of its
// own: where it is, which operations it serves by itself, what it wants to see instead of what clients write, and what gets
// lost on the way to it. The data plane addresses upstreams by it, the control plane completes and checks channels by it,
// and the documentation is generated from it.
//
// It refuses to guess. An operation stands here because the vendor's public documentation describes it, and a member of a
// body is renamed or taken out only where its meaning stays: what a service does not know, and says so, it shall say itself.
// It refuses to do anything, too: it is data, and a few ways to look it up.
package provider

import (
	"cmp"
	"slices"
	"strings"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/operation"
)

// Facts are what is known of one provider or preset. They are shared and must not be changed.
type Facts struct {
	// Provider is a resource.v1.Provider. Preset is empty for all but those of OPENAI_COMPATIBLE.
	Provider int32
	Preset   string
	// Name is what the command line calls it; Title is how its vendor writes it.
	Name, Title string
	// Docs is where the vendor describes the API.
	Docs string
	// BaseURL is the default, with the version path where there is one. "" = a channel must say it. {region} stands for the
	// region or location of the channel (see URL).
	BaseURL string
	// Version is the path that the paths of OpenAI's API have here instead of /v1.
	Version string
	// Operations are those that it serves as clients ask for them, whichever the model.
	Operations operation.Set
	// Talk is what conversations in other dialects become; Unknown = it serves none.
	Talk operation.Operation
	// Models are its families of models, where the model decides over Operations and Talk; those are the sum, then.
	Models []Family
	// Paths are from the host on, for operations that are elsewhere than under Version.
	Paths []Path
	// Credentials are the kinds that it takes, the usual one first.
	Credentials []Credential
	// Quirks are changes to bodies.
	Quirks []Quirk
	// SystemOnly: it does not know the role "developer", which "system" can stand for.
	SystemOnly bool
	// Reasoning: it wants what its models thought back in the next turn, in reasoning_content or reasoning_details. Others
	// refuse those.
	Reasoning bool
	// Headers are sent with every request.
	Headers []Header
	// Losses are sentences for the documentation: what a client of OpenAI's API does not get here.
	Losses []string
}

// Family is a family of models that are asked in one way.
type Family struct {
	// Name is for the documentation; Match says whether a model is of the family. The first that matches counts.
	Name       string
	Match      func(model string) bool
	Operations operation.Set
	Talk       operation.Operation
}

// Path is where an operation is.
type Path struct {
	Op   operation.Operation
	Path string
}

// Header is a header with a constant value.
type Header struct{ Name, Value string }

// Quirk changes one member of the bodies of some operations, as resource.v1.ParameterRule.
type Quirk struct {
	Operations operation.Set
	Action     int32 // a resource.v1.RuleAction
	Path       string
	Value      string // JSON, or a path
	// Why is a sentence for the documentation.
	Why string
}

// Credential is a kind of credential, in the words of the documentation.
type Credential string

// The kinds of credentials.
const (
	Bearer         Credential = "bearer"           // Authorization: Bearer
	APIKey         Credential = "api-key"          // the provider's own header
	Entra          Credential = "entra-id"         // a token of Microsoft Entra ID
	AccessKey      Credential = "aws-access-key"   // SigV4 with a key of an IAM user
	AssumedRole    Credential = "aws-assumed-role" // SigV4 with a role's session
	ServiceAccount Credential = "service-account"  // OAuth with a key file of Google's
	Nothing        Credential = "none"
)

// Lookup finds the facts of a provider (a resource.v1.Provider) and, for OPENAI_COMPATIBLE, of a preset. false = there is
// no such provider, or no such preset of it.
func Lookup(provider int32, preset string) (*Facts, bool) {
	for i := range table {
		if table[i].Provider == provider && table[i].Preset == preset {
			return &table[i], true
		}
	}
	return nil, false
}

// ByName finds what the command line calls name: a provider, or a preset of OPENAI_COMPATIBLE.
func ByName(name string) (provider int32, preset string, ok bool) {
	for i := range table {
		if table[i].Name == name {
			return table[i].Provider, table[i].Preset, true
		}
	}
	return 0, "", false
}

// All returns the facts of all: the providers in the order of their numbers, each before its presets, and those by name.
func All() []Facts {
	all := slices.Clone(table)
	slices.SortFunc(all, func(a, b Facts) int {
		return cmp.Or(cmp.Compare(a.Provider, b.Provider), cmp.Compare(a.Preset, b.Preset))
	})
	return all
}

// URL is the default base URL for a region or location; false = the channel must say a base URL, or a region.
func (f *Facts) URL(region string) (string, bool) {
	const place = "{region}"
	switch {
	case f.BaseURL == "":
		return "", false
	case !strings.Contains(f.BaseURL, place):
		return f.BaseURL, true
	case region == "":
		return "", false
	case f.Provider == int32(resourcev1.Provider_PROVIDER_VERTEX):
		return vertexURL(region), true
	}
	return strings.ReplaceAll(f.BaseURL, place, region), true
}

// Path is where op is, from the host on: with Version, and with {model} and {id} as in operation.Facts. It is for the
// operations of OpenAI's API and for those in Paths.
func (f *Facts) Path(op operation.Operation) string {
	for _, p := range f.Paths {
		if p.Op == op {
			return p.Path
		}
	}
	path := op.Facts().Path
	if rest, ok := strings.CutPrefix(path, "/v1/"); ok && op.Facts().Dialect == operation.OpenAI {
		return f.Version + "/" + rest
	}
	return path
}

// Serves says which operation the upstream is asked for, for op of a client and a model: op itself where it is served, the
// provider's own conversation where op is one of another dialect; false = op cannot be served.
func (f *Facts) Serves(op operation.Operation, model string) (operation.Operation, bool) {
	operations, talk := f.Operations, f.Talk
	if len(f.Models) > 0 {
		i := slices.IndexFunc(f.Models, func(m Family) bool { return m.Match(model) })
		if i < 0 {
			return operation.Unknown, false
		}
		operations, talk = f.Models[i].Operations, f.Models[i].Talk
	}
	switch {
	case operations.Has(op):
		return op, true
	case op == operation.CountTokens && operations.Has(operation.GeminiCountTokens):
		return operation.GeminiCountTokens, true
	case op.Facts().Talk && talk != operation.Unknown:
		return talk, true
	}
	return operation.Unknown, false
}
