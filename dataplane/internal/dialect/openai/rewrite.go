package openai

const includeUsage = `"include_usage":true`

// Rewrite appends body to dst with model in the place of the client's and, if wantUsage, with
// stream_options.include_usage set to true. No other byte changes; what the client wrote in an odd way (stream_options
// that is no object, include_usage that is no boolean) stays for the upstream to refuse. p must be the Peek of body.
func Rewrite(dst, body []byte, p *Peek, model string, wantUsage bool) []byte {
	at := 0
	splice := func(s Span, put func([]byte) []byte) {
		dst = append(dst, body[at:s.Start]...)
		dst = put(dst)
		at = s.End
	}
	setModel := func(dst []byte) []byte { return appendQuoted(dst, model) }

	where, what, ok := p.usageSplicing()
	if !wantUsage || !ok {
		splice(p.ModelAt, setModel)
		return append(dst, body[at:]...)
	}
	setUsage := func(dst []byte) []byte { return append(dst, what...) }
	if where.Start < p.ModelAt.Start {
		splice(where, setUsage)
		splice(p.ModelAt, setModel)
	} else {
		splice(p.ModelAt, setModel)
		splice(where, setUsage)
	}
	return append(dst, body[at:]...)
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

// appendQuoted appends s as a JSON string. Model names are printable ASCII by the rules of the resource; the rest is
// escaped all the same.
func appendQuoted(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
