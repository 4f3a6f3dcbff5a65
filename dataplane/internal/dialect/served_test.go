package dialect

import (
	"testing"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

const (
	batch    = resourcev1.ServiceVariant_SERVICE_VARIANT_BATCH
	flex     = resourcev1.ServiceVariant_SERVICE_VARIANT_FLEX
	priority = resourcev1.ServiceVariant_SERVICE_VARIANT_PRIORITY
)

func TestServedObject(t *testing.T) {
	for name, tt := range map[string]struct {
		body string
		want resourcev1.ServiceVariant
		said bool
	}{
		"chat":           {`{"choices":[],"service_tier":"flex","usage":{}}`, flex, true},
		"chat, standard": {`{"service_tier":"default"}`, 0, true},
		"not said":       {`{"service_tier":null}`, 0, false},
		"absent":         {`{"usage":{"prompt_tokens":1}}`, 0, false},
		"messages":       {`{"content":[],"usage":{"input_tokens":1,"service_tier":"batch"}}`, batch, true},
		"gemini":         {`{"candidates":[],"usageMetadata":{"trafficType":"ON_DEMAND_PRIORITY"}}`, priority, true},
		"vertex":         {`{"usageMetadata":{"trafficType":"ON_DEMAND"}}`, 0, true},
		"converse":       {`{"output":{},"serviceTier":{"type":"flex"}}`, flex, true},
		// A model can be made to write anything where its own words stand, and a client names what is repeated to it.
		"in a tool's arguments": {`{"content":[{"type":"tool_use","input":{"service_tier":"batch"}}],"usage":{}}`, 0, false},
		"in metadata":           {`{"service_tier":"default","metadata":{"service_tier":"batch"}}`, 0, true},
		"in a tool's schema":    {`{"tools":[{"parameters":{"usage":{"service_tier":"batch"}}}]}`, 0, false},
		"in text":               {`{"text":"\"service_tier\":\"batch\""}`, 0, false},
		"too deep":              {`{"response":{"response":{"usage":{"service_tier":"batch"}}}}`, 0, false},
		"cut":                   {`{"service_tier":"flex","usage":{`, 0, false},
		"no object":             {`["service_tier"]`, 0, false},
	} {
		if got, said := ServedObject([]byte(tt.body)); got != tt.want || said != tt.said {
			t.Errorf("%s: %v, %v; want %v, %v", name, got, said, tt.want, tt.said)
		}
	}
}

func TestServedStream(t *testing.T) {
	for name, tt := range map[string]struct {
		stream string
		want   resourcev1.ServiceVariant
		said   bool
	}{
		"chat": {"data: {\"choices\":[],\"service_tier\":\"flex\"}\n\ndata: [DONE]\n\n", flex, true},
		"messages": {"event: message_start\r\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"service_tier\":\"priority\"}}}\r\n\r\n" +
			"data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":1}}\r\n\r\n", priority, true},
		"the last word": {"data: {\"type\":\"response.created\",\"response\":{\"service_tier\":\"auto\"}}\n\n" +
			"data: {\"type\":\"response.completed\",\"response\":{\"service_tier\":\"priority\"}}\n\n", priority, true},
		"cut at both ends":    {"service_tier\":\"flex\"}\n\ndata: {\"service_tier\":\"default\"}\n\ndata: {\"service_tier\":\"flex\"", 0, true},
		"a line of the model": {"data: {\"delta\":\"\\ndata: {\\\"service_tier\\\":\\\"batch\\\"}\"}\n\n", 0, false},
	} {
		if got, said := ServedStream([]byte(tt.stream)); got != tt.want || said != tt.said {
			t.Errorf("%s: %v, %v; want %v, %v", name, got, said, tt.want, tt.said)
		}
	}
}

func TestServedDoesNotAllocate(t *testing.T) {
	piece := []byte("data: {\"choices\":[],\"service_tier\":\"flex\",\"usage\":{\"prompt_tokens\":1}}\n\ndata: [DONE]\n\n")
	if n := testing.AllocsPerRun(100, func() { _, _ = ServedStream(piece) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// Whatever comes: no panic, and what is no known word is never one of the cheap ways.
func FuzzServed(f *testing.F) {
	f.Add([]byte(`{"usage":{"service_tier":"batch"}}`))
	f.Add([]byte("data: {\"serviceTier\":{\"type\":\"flex\"}}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, read := range []func([]byte) (resourcev1.ServiceVariant, bool){ServedObject, ServedStream} {
			if v, said := read(b); v < 0 || v > 3 || v != 0 && !said {
				t.Fatalf("%v, %v", v, said)
			}
		}
	})
}
