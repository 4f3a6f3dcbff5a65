package fakellm

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// bytesOfSound is how many bytes make one token of sound, and a hundredth of a second.
const bytesOfSound = 256

// soundRules are the parts of a transcription; a translation has fewer.
func soundRules(translate bool) []rule {
	rules := []rule{
		{name: "file", file: true, must: true}, {name: "model", must: true}, {name: "prompt"}, {name: "temperature"},
	}
	formats := []string{"json", "text", "srt", "verbose_json", "vtt"}
	if translate {
		return append(rules, rule{name: "response_format", values: formats})
	}
	return append(rules, rule{name: "response_format", values: append(formats, "diarized_json")},
		rule{name: "language"}, rule{name: "include", list: true, values: []string{"logprobs"}},
		rule{name: "timestamp_granularities", list: true, values: []string{"word", "segment"}},
		rule{name: "chunking_strategy"}, rule{name: "chunking_strategy[type]"}, rule{name: "keywords", list: true},
		rule{name: "languages", list: true}, rule{name: "known_speaker_names", list: true},
		rule{name: "known_speaker_references", list: true}, rule{name: "stream", values: []string{"true", "false"}})
}

func decodeTranscription(f *form, translate bool) (answer, *apiError) {
	if fault := f.check(soundRules(translate)); fault != nil {
		return answer{}, fault
	}
	file := f.files["file"][0]
	formats := []string{"flac", "m4a", "mp3", "mp4", "mpeg", "mpga", "oga", "ogg", "wav", "webm"}
	if !slices.Contains(formats, strings.TrimPrefix(path.Ext(file.name), ".")) {
		return answer{}, badRequest("", "file", "Unrecognized file format. Supported formats: %s.", formats)
	}
	if len(file.content) == 0 {
		return answer{}, badRequest("audio_too_short", "file", "Audio file is too short.")
	}
	h := hearing{
		task: "transcribe", language: "english", format: f.text("response_format"),
		prompt: words(f.text("prompt")), sound: int64(len(file.content)+bytesOfSound-1) / bytesOfSound,
		parts: strings.SplitAfter(fmt.Sprintf("I hear a sound of %d bytes.", len(file.content)), " "),
		// Whisper is billed by time, and so is whatever answers in detail.
		timed: strings.HasPrefix(f.text("model"), "whisper") || f.text("response_format") == "verbose_json",
	}
	if translate {
		h.task = "translate"
	}
	stream := f.text("stream") == "true"
	if stream && h.format != "" && h.format != "json" {
		return answer{}, badRequest("invalid_value", "response_format", "a stream has the format json only")
	}
	media := ""
	switch h.format {
	case "text", "srt", "vtt":
		media = "text/plain; charset=utf-8"
	}
	u := usage{input: h.prompt + h.sound, output: int64(len(h.parts))}
	return answer{
		model: f.text("model"), stream: stream, usage: u, whole: h.whole, media: media,
		events: func(_ stamp, _ bool, yield func([]byte) bool) {
			for _, part := range h.parts {
				out := appendString([]byte(`{"type":"transcript.text.delta","delta":`), part)
				if !yield(data(append(out, '}'))) {
					return
				}
			}
		},
		cut: &framing{last: func(_ stamp, withUsage bool) []byte {
			out := appendString([]byte(`{"type":"transcript.text.done","text":`), strings.Join(h.parts, ""))
			return data(append(h.usage(out, withUsage), '}'))
		}},
	}, nil
}

// hearing is what a transcription gets.
type hearing struct {
	task, language, format string
	prompt, sound          int64
	parts                  []string
	timed                  bool
}

func (h hearing) whole(_ stamp, withUsage bool) []byte {
	text := strings.Join(h.parts, "")
	seconds := float64(h.sound) / 100
	switch h.format {
	case "text":
		return []byte(text + "\n")
	case "srt":
		return []byte("1\n00:00:00,000 --> 00:00:01,000\n" + text + "\n\n")
	case "vtt":
		return []byte("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n" + text + "\n\n")
	case "verbose_json":
		out := fmt.Appendf(nil, `{"task":%q,"language":%q,"duration":%.2f,"text":`, h.task, h.language, seconds)
		out = appendString(out, text)
		out = fmt.Appendf(out, `,"segments":[{"id":0,"seek":0,"start":0.0,"end":%.2f,"text":`, seconds)
		out = appendString(out, text)
		out = append(out, `,"tokens":[1],"temperature":0.0,"avg_logprob":-0.5,"compression_ratio":1.0,"no_speech_prob":0.0}]`...)
		return append(h.usage(out, withUsage), '}')
	case "diarized_json":
		out := fmt.Appendf(nil, `{"task":%q,"duration":%.2f,"text":`, h.task, seconds)
		out = appendString(out, text)
		out = fmt.Appendf(out, `,"segments":[{"type":"transcript.text.segment","id":"seg_1","speaker":"A","start":0.0,`+
			`"end":%.2f,"text":`, seconds)
		out = append(appendString(out, text), "}]"...)
		return append(h.usage(out, withUsage), '}')
	}
	out := appendString([]byte(`{"text":`), text)
	return append(h.usage(out, withUsage), '}')
}

// usage appends the member, by tokens or by time.
func (h hearing) usage(dst []byte, withUsage bool) []byte {
	switch {
	case !withUsage:
		return dst
	case h.timed:
		return fmt.Appendf(dst, `,"usage":{"type":"duration","seconds":%d}`, (h.sound+99)/100)
	}
	heard := int64(len(h.parts))
	return fmt.Appendf(dst, `,"usage":{"type":"tokens","input_tokens":%d,"input_token_details":{"text_tokens":%d,`+
		`"audio_tokens":%d},"output_tokens":%d,"total_tokens":%d}`,
		h.prompt+h.sound, h.prompt, h.sound, heard, h.prompt+h.sound+heard)
}
