package gemini

import "github.com/tidwall/gjson"

// ReadCount reads the answer of countTokens; false: it says no count.
func ReadCount(body []byte) (int64, bool) {
	v := gjson.Get(text(body), "totalTokens")
	n := v.Int()
	return n, v.Type == gjson.Number && n >= 0
}

// AppendCount appends the answer of countTokens.
func AppendCount(dst []byte, n int64) []byte {
	return append(appendInt(append(dst, `{"totalTokens":`...), n), '}')
}
