package anthropic

import "bytes"

const (
	resultsKey  = `"results_url"`
	resultsPath = "/v1/messages/batches/"
)

// KeepResultsHere takes the provider's address out of every results_url in an answer that describes batches, in place, and
// returns what is left. The path alone leads the SDKs back to where they asked; at the provider they would give away the
// key of a client, and be refused.
func KeepResultsHere(body []byte) []byte {
	out, rest := body[:0], body
	for {
		i := bytes.Index(rest, []byte(resultsKey))
		if i < 0 {
			return append(out, rest...)
		}
		i += len(resultsKey)
		out, rest = append(out, rest[:i]...), rest[i:]
		start := quoteAfterColon(rest)
		if start < 0 {
			continue // null, or inside of a text
		}
		end := bytes.IndexByte(rest[start:], '"')
		if end < 0 {
			continue
		}
		if path := bytes.Index(rest[start:start+end], []byte(resultsPath)); path >= 0 {
			out, rest = append(out, rest[:start]...), rest[start+path:]
		}
	}
}

// quoteAfterColon is where the text begins that is a member's value; b begins behind the member's name. -1 = it is no text.
func quoteAfterColon(b []byte) int {
	const space = " \t\r\n"
	value := bytes.TrimLeft(b, space)
	if len(value) == 0 || value[0] != ':' {
		return -1
	}
	value = bytes.TrimLeft(value[1:], space)
	if len(value) == 0 || value[0] != '"' {
		return -1
	}
	return len(b) - len(value) + 1
}
