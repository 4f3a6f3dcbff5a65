package anthropic

import (
	"strconv"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
)

// What an estimate counts, in tokens. Text is counted by its bytes: see textTokens.
const (
	// perImage is what the largest image costs that the API does not shrink, perLargeImage with the models that see more.
	perImage      = 1600
	perLargeImage = 4800
	// perPDF is for one that is not seen: ten pages at 3,000 tokens.
	perPDF = 30_000
	// perTurn is for roles and the ends of messages, perBlock for what stands around results and calls.
	perTurn, perBlock = 8, 16
	// withTools is the system prompt that the API adds when there are tools; perTool is for a tool's form.
	withTools, perTool = 600, 24
	// withServerTools is for tools of the provider's own, of which nothing else is known.
	withServerTools = 4000
	// base is for every conversation.
	base = 16
)

// EstimateTokens is how many tokens of input r is, guessed from above: it is meant for clients that ask whether something
// fits, so it must never be too low, and is up to two or three times too high. Whoever answers with it says that it is an
// estimate (LossTokenEstimate).
func EstimateTokens(r *neutral.Request) int64 {
	e := estimate{image: perImage}
	if generation(r.Model) >= adaptiveOnly {
		e.image = perLargeImage
	}
	e.total = base
	e.parts(r.System)
	for i := range r.Turns {
		e.total += perTurn
		e.parts(r.Turns[i].Parts)
	}
	for i := range r.Tools {
		t := &r.Tools[i]
		e.total += perTool + textTokens(t.Name) + textTokens(t.Description) + textTokens(t.Schema)
	}
	if len(r.Tools) > 0 {
		e.total += withTools
	}
	if r.Losses.Has(neutral.LossServerTools) || r.Losses.Has(neutral.LossUnknownPart) {
		e.total += withServerTools
	}
	e.total += textTokens(r.Format.Schema) + textTokens(r.Format.Description)
	return e.total
}

type estimate struct{ total, image int64 }

func (e *estimate) parts(parts []neutral.Part) {
	for i := range parts {
		p := &parts[i]
		switch p.Kind {
		case neutral.Image:
			e.total += e.image
			continue
		case neutral.File:
			e.total += perBlock + textTokens(p.Name)
			if isText(p.Media) {
				// Of base64, three quarters are the text; two thirds of a token a byte is what textTokens counts at most.
				e.total += int64(len(p.Data)+1) / 2
			} else {
				e.total += max(perPDF, int64(len(p.Data))/8)
			}
			continue
		case neutral.Audio:
			e.total += int64(len(p.Data)) / 16
			continue
		case neutral.Call, neutral.Result:
			e.total += perBlock + textTokens(p.ID) + textTokens(p.Name) + textTokens(p.Args)
			e.parts(p.Parts)
			continue
		}
		e.total += textTokens(p.Text) + int64(len(p.Signature.Value)+2)/3
	}
}

// textTokens is a token for every three bytes of ASCII letters and spaces, and two for every three of anything else:
// digits, punctuation and other scripts take more tokens for their bytes. Rounded up.
func textTokens(s string) int64 {
	var thirds int64
	for i := range len(s) {
		if c := s[i]; c >= 'a' && c <= 'z' || c == ' ' || c >= 'A' && c <= 'Z' {
			thirds++
		} else {
			thirds += 2
		}
	}
	return (thirds + 2) / 3
}

// AppendTokenCount appends the answer to a count of tokens.
func AppendTokenCount(dst []byte, n int64) []byte {
	dst = append(dst, `{"input_tokens":`...)
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, '}')
}

// ReadTokenCount reads an upstream's answer to a count of tokens; false = it holds no count.
func ReadTokenCount(body []byte) (int64, bool) {
	v := gjson.Get(view(body), "input_tokens")
	if v.Type != gjson.Number {
		return 0, false
	}
	var n int64
	found := false
	s := dialect.Scanner{B: []byte(v.Raw)}
	s.Count(&n, &found)
	return n, found
}
