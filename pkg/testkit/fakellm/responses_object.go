package fakellm

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// modelResponse is a response of the Responses API. It does not change once it is kept.
type modelResponse struct {
	id, owner string
	sequence  uint64
	created   int64
	request   responsesRequest
	said      saying
	failure   string // the code of the error that it ends with; "" = none
	items     [][]byte
	words     int64 // of the conversation so far
	billed    bool  // it shows its usage
}

// status is how the response ends.
func (m *modelResponse) status() string {
	switch {
	case m.failure != "":
		return "failed"
	case m.said.cut:
		return "incomplete"
	}
	return "completed"
}

// firstStatus is what the answer to its creation says.
func (m *modelResponse) firstStatus() string {
	if m.request.Background {
		return "queued"
	}
	return m.status()
}

// over says that a status is a last one.
func over(status string) bool { return status != "queued" && status != "in_progress" }

// object is the response as it is with the status.
func (m *modelResponse) object(status string) []byte {
	r := m.request
	out := fmt.Appendf(nil, `{"id":%q,"object":"response","created_at":%d,"status":%q,"background":%t,"completed_at":`,
		m.id, m.created, status, r.Background)
	if status == "completed" {
		out = strconv.AppendInt(out, m.created, 10)
	} else {
		out = append(out, "null"...)
	}
	out = append(out, `,"error":`...)
	if status == "failed" {
		out = appendString(append(out, `{"code":`...), m.failure)
		out = append(out, `,"message":"The fake provider was told to fail."}`...)
	} else {
		out = append(out, "null"...)
	}
	out = append(out, `,"incomplete_details":`...)
	if status == "incomplete" {
		out = append(out, `{"reason":"max_output_tokens"}`...)
	} else {
		out = append(out, "null"...)
	}
	out = appendNullable(append(out, `,"instructions":`...), r.Instructions)
	out = append(out, `,"max_output_tokens":`...)
	if r.MaxOutputTokens == nil {
		out = append(out, "null"...)
	} else {
		out = strconv.AppendInt(out, *r.MaxOutputTokens, 10)
	}
	out = appendString(append(out, `,"max_tool_calls":null,"model":`...), r.Model)
	out = append(out, `,"output":[`...)
	if over(status) && status != "cancelled" {
		for i, item := range m.output() {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(out, item...)
		}
	}
	out = strconv.AppendBool(append(out, `],"parallel_tool_calls":`...), r.ParallelToolCalls == nil || *r.ParallelToolCalls)
	out = appendNullable(append(out, `,"previous_response_id":`...), r.PreviousResponseID)
	out = appendNullable(append(out, `,"prompt_cache_key":`...), r.PromptCacheKey)
	out = appendNullable(append(out, `,"reasoning":{"effort":`...), r.Reasoning.Effort)
	out = appendNullable(append(out, `,"summary":`...), r.Reasoning.Summary)
	out = appendNullable(append(out, `},"safety_identifier":`...), r.SafetyIdentifier)
	out = strconv.AppendBool(append(out, `,"service_tier":"default","store":`...), m.kept())
	out = append(append(out, `,"temperature":`...), orElse(r.Temperature.String(), "1.0")...)
	out = append(append(out, `,"text":{"format":`...), orElse(string(r.Text.Format), `{"type":"text"}`)...)
	out = appendString(append(out, `,"verbosity":`...), orElse(r.Text.Verbosity, "medium"))
	out = append(append(out, `},"tool_choice":`...), orElse(strings.TrimPrefix(string(r.ToolChoice), "null"), `"auto"`)...)
	out = append(out, `,"tools":[`...)
	for i, tool := range r.Tools {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, tool...)
	}
	out = append(append(out, `],"top_logprobs":0,"top_p":`...), orElse(r.TopP.String(), "1.0")...)
	out = appendString(append(out, `,"truncation":`...), orElse(r.Truncation, "disabled"))
	out = append(out, `,"usage":`...)
	if over(status) && status != "cancelled" && status != "failed" && m.billed {
		u := m.said.usage
		out = fmt.Appendf(out, `{"input_tokens":%d,"input_tokens_details":{"cached_tokens":%d},"output_tokens":%d,`+
			`"output_tokens_details":{"reasoning_tokens":%d},"total_tokens":%d}`,
			u.input, u.cached, u.output, u.reasoning, u.input+u.output)
	} else {
		out = append(out, "null"...)
	}
	out = appendNullable(append(out, `,"user":`...), r.User)
	meta, err := json.Marshal(r.Metadata)
	if err != nil {
		// Strings always marshal.
		panic(err)
	}
	return append(append(append(out, `,"metadata":`...), orElse(strings.TrimPrefix(string(meta), "null"), "{}")...), '}')
}

func (m *modelResponse) kept() bool { return m.request.Store == nil || *m.request.Store }

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

func appendNullable(dst []byte, text *string) []byte {
	if text == nil {
		return append(dst, "null"...)
	}
	return appendString(dst, *text)
}

// output is the items that the model made.
func (m *modelResponse) output() []string {
	var out []string
	if len(m.said.thoughts) > 0 {
		out = append(out, m.thought(true))
	}
	for i := range m.said.calls {
		out = append(out, m.call(i, true))
	}
	if len(m.said.parts) > 0 {
		out = append(out, m.message(true))
	}
	return out
}

func (m *modelResponse) outputIDs() []string {
	out := []string{m.thoughtID(), m.messageID()}
	for i := range m.said.calls {
		out = append(out, m.itemID(i))
	}
	return out
}

func (m *modelResponse) thoughtID() string    { return fmt.Sprintf("rs_fake%d", m.sequence) }
func (m *modelResponse) messageID() string    { return fmt.Sprintf("msg_fake%d", m.sequence) }
func (m *modelResponse) itemID(i int) string  { return fmt.Sprintf("fc_fake%d_%d", m.sequence, i) }
func (m *modelResponse) callID(i int) string  { return fmt.Sprintf("call_fake%d_%d", m.sequence, i) }
func (m *modelResponse) summarizes() bool     { return m.request.Reasoning.Summary != nil }
func (m *modelResponse) thoughts() string     { return strings.Join(m.said.thoughts, "") }
func (m *modelResponse) text() string         { return strings.Join(m.said.parts, "") }
func (m *modelResponse) part(t string) []byte { return appendPart(nil, "output_text", t) }

// lastStatus is an item's status when it is done.
func (m *modelResponse) lastStatus(done bool) string {
	switch {
	case !done:
		return "in_progress"
	case m.said.cut:
		return "incomplete"
	}
	return "completed"
}

func appendPart(dst []byte, kind, text string) []byte {
	dst = appendString(append(dst, `{"type":`...), kind)
	if kind == "output_text" {
		dst = append(dst, `,"annotations":[],"logprobs":[]`...)
	}
	return append(appendString(append(dst, `,"text":`...), text), '}')
}

// thought is a reasoning item. What was thought comes out encrypted only, and only to who asks for it.
func (m *modelResponse) thought(done bool) string {
	out := fmt.Appendf(nil, `{"id":%q,"type":"reasoning"`, m.thoughtID())
	if done && slices.Contains(m.request.Include, "reasoning.encrypted_content") {
		out = fmt.Appendf(out, `,"encrypted_content":%q`, encrypted(len(m.said.thoughts)))
	}
	out = append(out, `,"summary":[`...)
	if done && m.summarizes() {
		out = appendPart(out, "summary_text", m.thoughts())
	}
	return string(append(out, "]}"...))
}

func (m *modelResponse) message(done bool) string {
	out := fmt.Appendf(nil, `{"id":%q,"type":"message","status":%q,"content":[`, m.messageID(), m.lastStatus(done))
	if done {
		out = append(out, m.part(m.text())...)
	}
	return string(append(out, `],"role":"assistant"}`...))
}

func (m *modelResponse) call(i int, done bool) string {
	status, arguments := "in_progress", ""
	if done {
		status, arguments = "completed", strings.Join(m.said.calls[i].arguments, "")
	}
	out := fmt.Appendf(nil, `{"id":%q,"type":"function_call","status":%q,"arguments":`, m.itemID(i), status)
	out = appendString(out, arguments)
	out = fmt.Appendf(out, `,"call_id":%q,"name":`, m.callID(i))
	return string(append(appendString(out, m.said.calls[i].name), '}'))
}

// encryptedMark begins what this provider has encrypted.
const encryptedMark = "gAAAAABfake-"

// encrypted stands for so many thoughts. It says nothing, and nobody else can make it by accident.
func encrypted(thoughts int) string {
	count := strconv.Itoa(thoughts)
	sum := sha256.Sum256([]byte(encryptedMark + count))
	return encryptedMark + count + "-" + hex.EncodeToString(sum[:])
}

// genuine says whether a text is encrypted's, byte for byte.
func genuine(text string) bool {
	rest, ok := strings.CutPrefix(text, encryptedMark)
	count, _, cut := strings.Cut(rest, "-")
	n, err := strconv.Atoi(count)
	return ok && cut && err == nil && text == encrypted(n)
}
