package anthropic

import (
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/pkg/fault"
)

// maxModel is the longest model name in bytes, as in the resource.
const maxModel = 256

// batch is a walk over the body of a batch.
type batch struct {
	s      dialect.Scanner
	models []dialect.Span
	name   string
	fault  *fault.Error
}

// PeekBatch reads the body of a message batch in one pass: where each request's params name their model (the value with
// its quotes), and the name, which must be the same for all, because a batch goes to one account. It returns a fault (400)
// when the body is no JSON object with requests, when a model is missing or differs, and when a member that this depends
// on comes twice, in any spelling that some parser would take for the same name.
func PeekBatch(body []byte) (models []dialect.Span, name string, f *fault.Error) {
	b := &batch{s: dialect.Scanner{B: body}}
	b.s.Space()
	if !b.s.Take('{') {
		return nil, "", fault.New(fault.Invalid, "the request body must be a JSON object")
	}
	ok, why := b.object("", "requests", b.requests)
	b.s.Space()
	switch {
	case b.fault != nil:
		return nil, "", b.fault
	case why != "":
		return nil, "", fault.New(fault.Invalid, "%s", why)
	case b.s.At != len(body):
		return nil, "", fault.New(fault.Invalid, "something follows the JSON object of the request body")
	case !ok:
		b.refuse("requests", "is required")
	case len(b.models) == 0:
		b.refuse("requests", "must not be empty")
	}
	if b.fault != nil {
		return nil, "", b.fault
	}
	return b.models, b.name, nil
}

func (b *batch) refuse(param, message string) {
	if b.fault == nil {
		b.fault = fault.New(fault.Invalid, "%s", param+" "+message).WithParam(param)
	}
}

// object walks an object whose brace was taken, and reads the value of the member name with read. It says whether there
// was one, and why it stopped early.
func (b *batch) object(path, name string, read func() bool) (met bool, why string) {
	why = b.s.Members(func(key []byte) bool {
		if !same(key, name) {
			return b.s.Value()
		}
		if met {
			b.refuse(path+name, "is there more than once")
			return false
		}
		met = true
		return read()
	})
	return met, why
}

// same says whether some parser could read key, the inside of a JSON string, as name.
func same(key []byte, name string) bool {
	k := view(key)
	if strings.IndexByte(k, '\\') >= 0 {
		k = gjson.Parse(`"` + k + `"`).Str
	}
	return strings.EqualFold(k, name)
}

func (b *batch) requests() bool {
	if !b.s.Take('[') {
		b.refuse("requests", "must be an array")
		return false
	}
	b.s.Space()
	if b.s.Take(']') {
		return true
	}
	for n := 0; ; n++ {
		b.s.Space()
		if !b.request(n) {
			return false
		}
		b.s.Space()
		if b.s.Take(']') {
			return true
		}
		if !b.s.Take(',') {
			return false
		}
	}
}

// request reads one of the requests; paths are written only where something is wrong.
func (b *batch) request(n int) bool {
	path := func() string { return "requests[" + strconv.Itoa(n) + "]" }
	if !b.s.Take('{') {
		b.refuse(path(), "must be an object")
		return false
	}
	model := false
	params, why := b.object("requests[].", "params", func() bool {
		if !b.s.Take('{') {
			b.refuse(path()+".params", "must be an object")
			return false
		}
		met, why := b.object("requests[].params.", "model", func() bool { return b.model(n) })
		model = met
		return why == ""
	})
	if why != "" {
		return false
	}
	if !params || !model {
		b.refuse(path()+".params.model", "is required")
		return false
	}
	return true
}

func (b *batch) model(n int) bool {
	start := b.s.At
	if !b.s.Value() {
		return false
	}
	raw := b.s.B[start:b.s.At]
	path := func() string { return "requests[" + strconv.Itoa(n) + "].params.model" }
	if raw[0] != '"' || !inString(inside(raw)) {
		b.refuse(path(), "must be a string")
		return false
	}
	name := gjson.Parse(view(raw)).Str
	switch {
	case name == "":
		b.refuse(path(), "must not be empty")
	case len(name) > maxModel:
		b.refuse(path(), "is too long")
	case len(b.models) > 0 && name != b.name:
		b.refuse(path(), "differs: all requests of a batch must name the same model")
	}
	if b.fault != nil {
		return false
	}
	if len(b.models) == 0 {
		b.name = strings.Clone(name)
	}
	b.models = append(b.models, dialect.Span{Start: start, End: b.s.At})
	return true
}
