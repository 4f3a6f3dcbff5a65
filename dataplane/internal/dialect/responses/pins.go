package responses

import (
	"github.com/tidwall/gjson"

	"fairway/pkg/sse"
)

// Pins says which earlier response the body of a create request goes on from: only the account that made it can answer.
// false = none.
func Pins(body []byte) (previousID string, ok bool) {
	previous := gjson.GetBytes(body, "previous_response_id")
	return previous.Str, previous.Type == gjson.String && previous.Str != ""
}

// ID is the id of the response that body is (a response object) or begins (the first event of a stream: its lines, or its
// data alone); "" = it names none.
func ID(body []byte) string {
	data := body
	if d := sse.Data(body); d != nil {
		data = d
	}
	if response := gjson.GetBytes(data, "response"); response.IsObject() {
		return response.Get("id").Str
	}
	if gjson.GetBytes(data, "object").Str != "response" {
		return ""
	}
	return gjson.GetBytes(data, "id").Str
}
