package openai

import (
	"strings"
	"testing"
)

func TestFinishedMedia(t *testing.T) {
	picture := strings.Repeat("iVBORw0KGgo", 1000)
	tests := []struct {
		name, tail string
		want       bool
	}{
		{"image", "event: image_generation.completed\ndata: {\"type\":\"image_generation.completed\",\"b64_json\":\"iV\"}\n\n", true},
		{"image larger than the tail", picture + `","size":"1024x1024","usage":{"input_tokens":5,"output_tokens":16,"total_tokens":21}}` + "\n\n", true},
		{"edit", `data: {"type":"image_edit.completed","b64_json":"iV"}` + "\n\n", true},
		{"part of an image", `data: {"type":"image_generation.partial_image","partial_image_index":0,"b64_json":"` + picture + `"}` + "\n\n", false},
		{"transcript", `data: {"type":"transcript.text.done","text":"Hello."}` + "\n\n", true},
		{"part of a transcript", `data: {"type":"transcript.text.delta","delta":"they say \"transcript.text.done\""}` + "\n\n", false},
		{"speech", `data: {"type":"speech.audio.done","usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}}` + "\n\n", true},
		{"cut in the usage", picture + `","usage":{"input_tokens":5,"outp`, false},
		{"nothing", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := (Answers{Media: true}).Finished([]byte(tt.tail)); got != tt.want {
				t.Errorf("finished = %v, want %v", got, tt.want)
			}
		})
	}
}
