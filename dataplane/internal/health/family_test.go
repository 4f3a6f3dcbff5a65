package health

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestFamily(t *testing.T) {
	for _, tc := range []struct{ model, want string }{
		{"claude-3-5-sonnet-20241022", "claude-3-5-sonnet"},
		{"claude-3-5-sonnet-latest", "claude-3-5-sonnet"},
		{"claude-3-5-sonnet@20240620", "claude-3-5-sonnet"},
		{"claude-sonnet-4-5", "claude-sonnet-4-5"},
		{"claude-sonnet-4-5-20250929", "claude-sonnet-4-5"},
		{"claude-opus-4-20250514", "claude-opus-4"},
		{"anthropic.claude-3-haiku-20240307-v1:0", "anthropic.claude-3-haiku"},
		{"amazon.nova-pro-v1:0", "amazon.nova-pro"},
		{"gpt-4o-2024-08-06", "gpt-4o"},
		{"gpt-4o-mini", "gpt-4o-mini"},
		{"gpt-4", "gpt-4"},
		{"gpt-4-0613", "gpt-4"},
		{"gpt-4-1106-preview", "gpt-4"},
		{"gpt-5.1", "gpt-5.1"},
		{"o1-preview-2024-09-12", "o1"},
		{"gemini-2.0-flash-001", "gemini-2.0-flash"},
		{"gemini-2.0-flash-exp", "gemini-2.0-flash"},
		{"gemini-2.5-flash-preview-05-20", "gemini-2.5-flash"},
		{"gemini-2.5-pro", "gemini-2.5-pro"},
		{"llama-3-70b", "llama-3-70b"},
		{"text-embedding-3-small", "text-embedding-3-small"},
		{"qwen-72b-9999", "qwen-72b-9999"},
		{"20241022", "20241022"},
		{"-20241022", "-20241022"},
		{"", ""},
	} {
		if got := family(tc.model); got != tc.want {
			t.Errorf("%q: %q, want %q", tc.model, got, tc.want)
		}
	}
}

// TestFamilyHoldsStill: it is a beginning of the name, never empty for one that is not, and a family is its own.
func TestFamilyHoldsStill(t *testing.T) {
	part := rapid.SampledFrom([]string{"claude", "4", "5", "sonnet", "20241022", "2024", "08", "06", "latest", "001", "v1", "x.y"})
	rapid.Check(t, func(t *rapid.T) {
		name := strings.Join(rapid.SliceOfN(part, 1, 7).Draw(t, "parts"), rapid.SampledFrom([]string{"-", "@", ":"}).Draw(t, "separator"))
		f := family(name)
		if f == "" || !strings.HasPrefix(name, f) {
			t.Fatalf("%q: %q", name, f)
		}
	})
}
