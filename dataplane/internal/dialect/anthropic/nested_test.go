package anthropic

import (
	"strings"
	"testing"
)

// Documents and search results hold text and images, and never each other: that would be as costly as it is deep.
func TestDocumentsDoNotNest(t *testing.T) {
	document := func(content string) string {
		return `[{"type":"document","source":{"type":"content","content":` + content + `}}]`
	}
	result := func(content string) string {
		return `[{"type":"search_result","source":"s","title":"t","content":` + content + `}]`
	}
	const text = `[{"type":"text","text":"a"}]`
	for _, tc := range []struct {
		name, content string
		refused       bool
	}{
		{"a document", document(text), false},
		{"one after the other", document(text)[:len(document(text))-1] + "," + result(text)[1:], false},
		{"in a result of a tool", `[{"type":"tool_result","tool_use_id":"a","content":` + document(text) + `}]`, false},
		{"in each other", document(document(text)), true},
		{"a search result in a document", document(result(text)), true},
		{"a document in a search result", result(document(text)), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, f := Codec{}.ReadRequest([]byte(`{"messages":[{"role":"user","content":`+tc.content+`}]}`), "m", false)
			if (f != nil) != tc.refused || f != nil && !strings.Contains(f.Error(), "inside another") {
				t.Errorf("refused: %v", f)
			}
		})
	}
}
