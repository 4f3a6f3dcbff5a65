package journal

import (
	"bytes"
	"context"
	"encoding/hex"
	"testing"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	spanID  = "b7ad6b7169203331"
)

func TestParseTrace(t *testing.T) {
	for _, tt := range []struct {
		header         string
		valid, sampled bool
	}{
		{"00-" + traceID + "-" + spanID + "-01", true, true},
		{"00-" + traceID + "-" + spanID + "-00", true, false},
		{"00-" + traceID + "-" + spanID + "-ff", true, true},
		{"cc-" + traceID + "-" + spanID + "-01-what-will-be", true, true},
		{"cc-" + traceID + "-" + spanID + "-01.what-will-be", false, false},
		{"ff-" + traceID + "-" + spanID + "-01", false, false},
		{"00-" + traceID + "-" + spanID + "-01-more", false, false},
		{"00-00000000000000000000000000000000-" + spanID + "-01", false, false},
		{"00-" + traceID + "-0000000000000000-01", false, false},
		{"00-0AF7651916CD43DD8448EB211C80319C-" + spanID + "-01", false, false},
		{"00_" + traceID + "-" + spanID + "-01", false, false},
		{"00-" + traceID + "-" + spanID + "-0", false, false},
		{"00-" + traceID + "-" + spanID + "-0g", false, false},
		{"", false, false},
	} {
		got := ParseTrace([]byte(tt.header))
		if got.Valid() != tt.valid || got.Sampled != tt.sampled {
			t.Errorf("%q: valid %t, sampled %t", tt.header, got.Valid(), got.Sampled)
		}
		if tt.valid && (hex.EncodeToString(got.ID[:]) != traceID || hex.EncodeToString(got.Parent[:]) != spanID) {
			t.Errorf("%q: %x, %x", tt.header, got.ID, got.Parent)
		}
	}
}

// FuzzParseTrace: what is understood is what the SDK understands.
func FuzzParseTrace(f *testing.F) {
	f.Add([]byte("00-" + traceID + "-" + spanID + "-01"))
	f.Add([]byte("cc-" + traceID + "-" + spanID + "-01-x"))
	f.Add([]byte("00-" + traceID + "-" + spanID + "-01-"))
	f.Fuzz(func(t *testing.T, header []byte) {
		ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": string(header)})
		want, got := trace.SpanContextFromContext(ctx), ParseTrace(header)
		if bytes.HasPrefix(header, []byte("00-")) && len(header) > 55 {
			if got.Valid() {
				t.Errorf("%q is longer than version 00 is", header)
			}
			return // the SDK lets a dash pass
		}
		if !want.IsValid() {
			// The SDK refuses flags that version 00 does not know; the standard lets them pass.
			if got.Valid() && bytes.HasPrefix(header, []byte("00-")) && header[53] == '0' && header[54] <= '3' {
				t.Errorf("%q: the SDK sees no trace", header)
			}
			return
		}
		if got.ID != want.TraceID() || got.Parent != want.SpanID() || got.Sampled != want.IsSampled() {
			t.Errorf("%q: %+v, want %v", header, got, want)
		}
	})
}
