package fakellm

import (
	"encoding/base64"
	"fmt"
	"strings"
)

type speechRequest struct {
	Model          string   `json:"model"`
	Input          string   `json:"input"`
	Voice          any      `json:"voice"`
	ResponseFormat string   `json:"response_format"`
	StreamFormat   string   `json:"stream_format"`
	Speed          *float64 `json:"speed"`
}

// soundOfWord is how many bytes of sound a word makes, and one token of output.
const soundOfWord = 240

// speechMedia is the content type of a format of sound; "" = there is no such format.
func speechMedia(format string) string {
	switch format {
	case "", "mp3":
		return "audio/mpeg"
	case "opus", "aac", "flac", "wav", "pcm":
		return "audio/" + format
	}
	return ""
}

func decodeSpeech(body []byte) (answer, *apiError) {
	var r speechRequest
	if fault := known(body, "model", "input", "voice", "response_format", "stream_format", "speed", "instructions"); fault != nil {
		return answer{}, fault
	}
	if fault := decodeInto(body, &r); fault != nil {
		return answer{}, fault
	}
	const mostInput, slowest, fastest = 4096, 0.25, 4
	media := speechMedia(r.ResponseFormat)
	switch {
	case r.Model == "":
		return answer{}, badRequest("missing_required_parameter", "model", "you must provide a model parameter")
	case r.Input == "":
		return answer{}, badRequest("missing_required_parameter", "input", "Missing required parameter: 'input'.")
	case len(r.Input) > mostInput:
		return answer{}, badRequest("string_too_long", "input", "the input has more than %d characters", mostInput)
	case r.Voice == nil:
		return answer{}, badRequest("missing_required_parameter", "voice", "Missing required parameter: 'voice'.")
	case media == "":
		return answer{}, badRequest("invalid_value", "response_format", "Invalid value: '%s'.", r.ResponseFormat)
	case r.StreamFormat != "" && r.StreamFormat != "audio" && r.StreamFormat != "sse":
		return answer{}, badRequest("invalid_value", "stream_format", "Invalid value: '%s'.", r.StreamFormat)
	case r.Speed != nil && (*r.Speed < slowest || *r.Speed > fastest):
		return answer{}, badRequest("invalid_value", "speed", "'speed' must be between 0.25 and 4")
	}
	n := words(r.Input)
	u := usage{input: n, output: n}
	return answer{
		model: r.Model, stream: r.StreamFormat == "sse", usage: u, media: media,
		whole: func(stamp, bool) []byte { return sound(r.Input) },
		events: func(_ stamp, _ bool, yield func([]byte) bool) {
			for word := range strings.FieldsSeq(r.Input) {
				out := base64.StdEncoding.AppendEncode([]byte(`{"type":"speech.audio.delta","audio":"`), sound(word))
				if !yield(data(append(out, `"}`...))) {
					return
				}
			}
		},
		cut: &framing{last: func(_ stamp, withUsage bool) []byte {
			if !withUsage {
				return data([]byte(`{"type":"speech.audio.done"}`))
			}
			return data(fmt.Appendf(nil, `{"type":"speech.audio.done","usage":{"input_tokens":%d,"output_tokens":%d,`+
				`"total_tokens":%d}}`, u.input, u.output, u.input+u.output))
		}},
	}, nil
}

// sound is what a text sounds like: bytes that depend on its words alone, and are no text themselves.
func sound(text string) []byte {
	out := make([]byte, 0, len(text))
	for word := range strings.FieldsSeq(text) {
		for i := range soundOfWord {
			out = append(out, word[i%len(word)]^byte(i)|0x80)
		}
	}
	return out
}
