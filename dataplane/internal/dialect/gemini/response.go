package gemini

import (
	"errors"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
)

// Errors of ReadResponse.
var (
	errNotJSON  = errors.New("gemini: the response is not a JSON object")
	errNoAnswer = errors.New("gemini: the response has no candidate and no reason for that")
	errCall     = errors.New("gemini: the response has a function call that is no object")
)

// ReadResponse implements neutral.Hearer. Of several candidates the first is the answer.
func (Codec) ReadResponse(body []byte) (*neutral.Response, error) {
	if !dialect.Valid(text(body)) {
		return nil, errNotJSON
	}
	// A copy, which the answer's strings share: the body is the caller's.
	root := gjson.ParseBytes(body)
	if !root.IsObject() {
		return nil, errNotJSON
	}
	r := &neutral.Response{
		ID:      root.Get("responseId").String(),
		Model:   root.Get("modelVersion").String(),
		Created: created(root.Get("createTime").String()),
	}
	r.Usage, r.Counted = ParseUsage(body)
	candidates := root.Get("candidates")
	candidate := candidates.Get("0")
	r.Losses.AddIf(candidates.Get("1").Exists(), neutral.LossN)
	if !candidate.IsObject() {
		if root.Get("promptFeedback.blockReason").String() == "" {
			return nil, errNoAnswer
		}
		r.Stop = neutral.StopFilter
		return r, nil
	}
	var err error
	called := false
	candidate.Get("content.parts").ForEach(func(_, v gjson.Result) bool {
		var said answered
		if said, err = readAnswered(v, r.ID, len(r.Parts)); err != nil {
			return false
		}
		r.Losses |= said.lost
		if said.part.Kind != 0 {
			called = called || said.part.Kind == neutral.Call
			r.Parts = join(r.Parts, said.part, neutral.Assistant)
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	r.Stop = stopOf(candidate.Get("finishReason").String(), called)
	r.Losses.AddIf(remarks(candidate, "citationMetadata", "groundingMetadata", "urlContextMetadata"), neutral.LossCitations)
	r.Losses.AddIf(remarks(candidate, "logprobsResult"), neutral.LossLogprobs)
	return r, nil
}

// remarks says whether one of the members is there and not empty.
func remarks(v gjson.Result, names ...string) bool {
	for _, name := range names {
		if m := v.Get(name); m.IsObject() && !none(m) {
			return true
		}
	}
	return false
}

func created(stamp string) int64 {
	if t, err := time.Parse(time.RFC3339, stamp); err == nil {
		return t.Unix()
	}
	return 0
}

// answered is a part of an answer. Kind 0 = nothing that can be carried.
type answered struct {
	part neutral.Part
	lost neutral.Losses
}

// readAnswered reads a part of an answer; answer and n name a call that has no id.
func readAnswered(v gjson.Result, answer string, n int) (a answered, err error) {
	p := &a.part
	thought, some := false, false
	v.ForEach(func(key, v gjson.Result) bool {
		switch key.Str {
		case "text":
			p.Kind, p.Text = neutral.Text, v.String()
		case "thought":
			thought = v.Bool()
		case "thoughtSignature":
			p.Signature = neutral.Signature{Value: v.String(), Origin: native}
			some = v.String() != ""
		case "functionCall":
			p.Kind = neutral.Call
			if !readCall(p, v, func() { a.lost.Add(neutral.LossUnknownField) }) || p.Name == "" {
				err = errCall
			}
		case "inlineData":
			p.Media, p.Data = v.Get("mimeType").String(), v.Get("data").String()
			if p.Kind = kindOf(p.Media); p.Data == "" {
				p.Kind = 0
			}
		case "fileData":
			p.Media, p.URL = v.Get("mimeType").String(), v.Get("fileUri").String()
			if p.Kind = kindOf(p.Media); stored(p.URL) {
				p.FileID, p.URL = p.URL, ""
			}
		case "executableCode", "codeExecutionResult", "toolCall", "toolResponse":
			a.lost.Add(neutral.LossServerTools)
		default:
			a.lost.Add(neutral.LossUnknownField)
		}
		return err == nil
	})
	switch {
	case p.Kind == 0 && a.lost == 0 && (some || thought):
		p.Kind = neutral.Text // nothing but a signature
		if thought {
			p.Kind = neutral.Think
		}
	case p.Kind == neutral.Text && thought:
		p.Kind = neutral.Think
	case p.Kind == neutral.Call && p.ID == "":
		p.ID = callID(answer, n, p)
	}
	if p.Signature.Value != "" && p.Kind != neutral.Text && p.Kind != neutral.Think && p.Kind != neutral.Call && p.Kind != 0 {
		p.Signature = neutral.Signature{}
		a.lost.Add(neutral.LossSignature)
	}
	return a, err
}

// AppendResponse implements neutral.Writer.
func (Codec) AppendResponse(dst []byte, r *neutral.Response, a *neutral.Answering) []byte {
	dst = append(dst, `{"candidates":[{"content":{"parts":[`...)
	var parts list
	spoilt := false
	for i := range r.Parts {
		p := &r.Parts[i]
		switch p.Kind {
		case neutral.Text, neutral.Refusal, neutral.Think:
			dst = appendWords(parts.next(dst), p.Text, p.Kind == neutral.Think, p.Signature.Wrap(native))
		case neutral.Redacted:
			dst = appendWords(parts.next(dst), "", true, wrapRedacted(p.Signature))
		case neutral.Call:
			if !isArgs(p.Args) {
				spoilt = true
				continue
			}
			dst = appendCall(parts.next(dst), p.ID, p.Name, p.Args, p.Signature.Wrap(native))
		case neutral.Image, neutral.Audio, neutral.File:
			if p.Data == "" && p.URL == "" && p.FileID == "" {
				r.Losses.Add(neutral.LossFiles)
				continue
			}
			dst = append(appendBytes(parts.next(dst), p), '}')
		default:
			r.Losses.Add(neutral.LossUnknownPart)
		}
	}
	dst = append(dst, `],"role":"model"},"finishReason":"`...)
	dst = append(append(dst, reasonOf(r.Stop, spoilt)...), `","index":0}]`...)
	if r.Counted {
		dst = appendUsage(append(dst, `,"usageMetadata":`...), &r.Usage)
	}
	dst = appendNames(dst, a, r.ID)
	return append(dst, '}')
}

// isArgs says whether a call's arguments are what Google's args can be; "" counts as none.
func isArgs(args string) bool {
	return args == "" || strings.HasPrefix(strings.TrimLeft(args, " \t\r\n"), "{") && dialect.Valid(args)
}

// appendNames appends who answers.
func appendNames(dst []byte, a *neutral.Answering, id string) []byte {
	if id == "" {
		id = a.ID
	}
	l := list{some: true}
	return l.quoted(l.quoted(dst, "modelVersion", a.Model), "responseId", id)
}
