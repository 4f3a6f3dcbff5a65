package dialect

import "slices"

const includeUsage = `"include_usage":true`

// Rewrite appends body to dst with model in the place of the client's (of each of them, in a batch) and, if wantUsage, with
// stream_options.include_usage set to true. No other byte changes; what the client wrote in an odd way (stream_options
// that is no object, include_usage that is no boolean) stays for the upstream to refuse. p must be the Peek of body, and
// body no form.
func Rewrite(dst, body []byte, p *Peek, model string, wantUsage bool) []byte {
	at := 0
	splice := func(s Span, put func([]byte) []byte) {
		dst = append(dst, body[at:s.Start]...)
		dst = put(dst)
		at = s.End
	}
	setModel := func(dst []byte) []byte { return AppendQuoted(dst, model) }
	modelAt := p.ModelAt
	if !modelAt.Present() {
		// The body leaves it out. It goes to the front.
		modelAt = Span{p.open, p.open}
		setModel = func(dst []byte) []byte {
			dst = AppendQuoted(append(dst, `"model":`...), model)
			if p.empty {
				return dst
			}
			return append(dst, ',')
		}
	}
	where, what, ok := p.usageSplicing()
	setUsage := func(dst []byte) []byte { return append(dst, what...) }
	switch {
	case !wantUsage || !ok:
		splice(modelAt, setModel)
	case where.Start < modelAt.Start:
		splice(where, setUsage)
		splice(modelAt, setModel)
	default:
		splice(modelAt, setModel)
		splice(where, setUsage)
	}
	for _, again := range p.ModelsAt {
		splice(again, setModel)
	}
	return append(dst, body[at:]...)
}

// SpliceForm writes model into a form, in place: it returns the form, which is body's memory if that has room for it. p
// is the form's Peek, and says where the model is from then on.
func SpliceForm(body []byte, p *Peek, model string) []byte {
	at := p.ModelAt
	old := len(body)
	more := len(model) - (at.End - at.Start)
	if more > 0 {
		body = slices.Grow(body, more)
	}
	body = body[:old+max(more, 0)]
	copy(body[at.Start+len(model):], body[at.End:old])
	copy(body[at.Start:], model)
	p.ModelAt.End = at.Start + len(model)
	return body[:old+more]
}

// usageSplicing says where to put what so that include_usage is true; false = nowhere.
func (p *Peek) usageSplicing() (Span, string, bool) {
	switch {
	case p.UsageAsked || p.optionsOdd:
		return Span{}, "", false
	case !p.options.Present():
		// The body has a member, model, so a comma is due.
		return Span{p.open, p.open}, `"stream_options":{` + includeUsage + `},`, true
	case p.optionsNull:
		return p.options, `{` + includeUsage + `}`, true
	case p.usageSplice:
		return p.usage, "true", true
	case p.usage.Present():
		return Span{}, "", false
	}
	inside := Span{p.options.Start + 1, p.options.Start + 1}
	if p.optionsNone {
		return inside, includeUsage, true
	}
	return inside, includeUsage + ",", true
}
