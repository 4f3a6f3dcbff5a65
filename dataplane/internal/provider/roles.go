package provider

import (
	"github.com/tidwall/gjson"
)

// AppendSystemRoles appends the body of a chat with the role "system" in the place of each "developer", for services that
// know only the older name. No other byte changes. A body in which nothing is to be done is appended as it is.
func AppendSystemRoles(dst, body []byte) []byte {
	at := 0
	messages := gjson.Get(view(body), "messages")
	messages.ForEach(func(_, m gjson.Result) bool {
		role := m.Get("role")
		if role.Type != gjson.String || role.Str != "developer" || m.Index == 0 {
			return true
		}
		dst = append(dst, body[at:role.Index]...)
		dst = append(dst, `"system"`...)
		at = role.Index + len(role.Raw)
		return true
	})
	return append(dst, body[at:]...)
}
