package responses

import (
	"net/http"
	"strconv"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/money"
)

// object is a response as it stands at one moment: streams show it at their beginning and at their end.
type object struct {
	a       *neutral.Answering
	created int64
	status  string // in_progress, completed, incomplete or failed
	reason  string // of incomplete
	failure *dialect.UpstreamError
	tokens  money.Tokens
	counted bool
}

// statusOf is how an answer stands that stopped for a reason. A refusal is an answer; a filter's doing is none.
func statusOf(stop neutral.Stop, refused bool) (status, reason string) {
	switch {
	case stop == neutral.StopLength || stop == neutral.StopContext:
		return "incomplete", "max_output_tokens"
	case stop == neutral.StopFilter && !refused:
		return "incomplete", "content_filter"
	}
	return "completed", ""
}

// appendHead appends the object up to the opening bracket of its output.
func (o *object) appendHead(dst []byte) []byte {
	r := o.asked()
	dst = append(dst, `{"id":"resp_`...)
	dst = append(dst, o.a.ID...)
	dst = append(dst, `","object":"response","created_at":`...)
	dst = strconv.AppendInt(dst, o.created, 10)
	dst = appendString(dst, "status", o.status)
	dst = append(dst, `,"background":false,"error":`...)
	dst = o.appendFailure(dst)
	if o.reason == "" {
		dst = append(dst, `,"incomplete_details":null`...)
	} else {
		dst = append(dst, `,"incomplete_details":{"reason":"`...)
		dst = append(dst, o.reason...)
		dst = append(dst, `"}`...)
	}
	if system := systemText(r); system != "" {
		dst = appendString(dst, "instructions", system)
	} else {
		dst = append(dst, `,"instructions":null`...)
	}
	dst = appendOr(dst, "max_output_tokens", r.MaxTokens, "null")
	dst = append(dst, `,"max_tool_calls":null`...)
	dst = appendString(dst, "model", o.a.Model)
	return append(dst, `,"output":[`...)
}

// appendTail appends the rest of the object, from the closing bracket of its output on.
func (o *object) appendTail(dst []byte) []byte {
	r := o.asked()
	dst = append(dst, `],"parallel_tool_calls":`...)
	dst = strconv.AppendBool(dst, r.Parallel == nil || *r.Parallel)
	dst = append(dst, `,"previous_response_id":null,"prompt_cache_key":null,"reasoning":{"effort":`...)
	dst = appendNullable(dst, effortOf(&r.Thinking))
	dst = append(dst, `,"summary":`...)
	dst = appendNullable(dst, r.Thinking.Summary)
	dst = append(dst, `},"safety_identifier":null,"service_tier":`...)
	dst = appendNullable(dst, r.Tier)
	dst = append(dst, `,"store":false`...)
	dst = appendOr(dst, "temperature", r.Temperature, "1.0")
	dst = append(dst, `,"text":{"format":`...)
	dst = appendFormat(dst, &r.Format)
	dst = append(dst, `},"tool_choice":`...)
	dst = appendChoice(dst, r.Choice)
	dst = append(dst, `,"tools":`...)
	dst = appendTools(dst, r.Tools, true)
	dst = append(dst, `,"top_logprobs":0`...)
	dst = appendOr(dst, "top_p", r.TopP, "1.0")
	dst = append(dst, `,"truncation":"disabled","usage":`...)
	dst = o.appendUsage(dst)
	dst = append(dst, `,"user":`...)
	dst = appendNullable(dst, r.User)
	return append(dst, `,"metadata":{}}`...)
}

// asked is the request, as far as it is known.
func (o *object) asked() *neutral.Request {
	if o.a.Request == nil {
		return &neutral.Request{}
	}
	return o.a.Request
}

func (o *object) appendFailure(dst []byte) []byte {
	if o.failure == nil {
		return append(dst, "null"...)
	}
	dst = append(dst, `{"code":`...)
	dst = dialect.AppendQuoted(dst, codeOf(o.failure))
	dst = appendString(dst, "message", o.failure.Message)
	return append(dst, '}')
}

// codeOf is the code of an error: a response has no error without one.
func codeOf(e *dialect.UpstreamError) string {
	switch {
	case e.Code != "":
		return e.Code
	case e.Status == http.StatusTooManyRequests:
		return "rate_limit_exceeded"
	}
	return "server_error"
}

func (o *object) appendUsage(dst []byte) []byte {
	if !o.counted {
		return append(dst, "null"...)
	}
	t := &o.tokens
	dst = append(dst, `{"input_tokens":`...)
	dst = strconv.AppendInt(dst, t.Input, 10)
	dst = append(dst, `,"input_tokens_details":{"cache_write_tokens":`...)
	dst = strconv.AppendInt(dst, t.CacheWrite+t.CacheWriteLong, 10)
	dst = append(dst, `,"cached_tokens":`...)
	dst = strconv.AppendInt(dst, t.Cached, 10)
	dst = append(dst, `},"output_tokens":`...)
	dst = strconv.AppendInt(dst, t.Output, 10)
	dst = append(dst, `,"output_tokens_details":{"reasoning_tokens":`...)
	dst = strconv.AppendInt(dst, t.Reasoning, 10)
	dst = append(dst, `},"total_tokens":`...)
	dst = strconv.AppendInt(dst, t.Input+t.Output, 10)
	return append(dst, '}')
}

func appendNullable(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, "null"...)
	}
	return dialect.AppendQuoted(dst, s)
}

func appendOr(dst []byte, name string, n neutral.Number, otherwise neutral.Number) []byte {
	if n == "" {
		n = otherwise
	}
	return appendNumber(dst, name, n)
}
