package gemini

import (
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect/neutral"
)

// Schemas are translated up to a depth, and what is deeper stays as it was written.
func TestDeepSchemas(t *testing.T) {
	const levels = maxSchema + 10
	deep := strings.Repeat(`{"type":"ARRAY","items":`, levels) + `{"type":"STRING"}` + strings.Repeat("}", levels)
	var losses neutral.Losses
	got := jsonSchema(gjson.Parse(deep), &losses)
	if !gjson.Valid(got) || losses.String() != "schema" {
		t.Errorf("losses %q: %s", losses, got)
	}
	if n := strings.Count(got, `"array"`); n != maxSchema+1 {
		t.Errorf("%d levels were translated: %s", n, got)
	}
	if strings.Count(got, `"ARRAY"`) != levels-maxSchema-1 {
		t.Errorf("the others are gone: %s", got)
	}
}
