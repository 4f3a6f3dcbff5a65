package tunnel

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// What is read here is found, not checked: an event that is no JSON has nothing that could be found in it, or something
// that its reader would not find. Nothing recurses, and every byte is looked at a few times at most.

// member finds the first member of an object that has a name. The value is raw, and whole: one that the end of the object
// cuts is not found.
func member(object []byte, name string) (value []byte, found bool) {
	at := space(object, 0)
	if at == len(object) || object[at] != '{' {
		return nil, false
	}
	for at++; ; at++ {
		at = space(object, at)
		end, ok := str(object, at)
		if !ok {
			return nil, false
		}
		key := object[at+1 : end-1]
		if at = space(object, end); at == len(object) || object[at] != ':' {
			return nil, false
		}
		at = space(object, at+1)
		if end, ok = skip(object, at); !ok {
			return nil, false
		}
		if named(key, name) {
			return object[at:end], true
		}
		if at = space(object, end); at == len(object) || object[at] != ',' {
			return nil, false
		}
	}
}

// path finds a member of a member.
func path(object []byte, names ...string) (value []byte, found bool) {
	for _, name := range names {
		if object, found = member(object, name); !found {
			return nil, false
		}
	}
	return object, true
}

// named compares a raw name. Escapes in it are legal, never seen, and longer than what they stand for.
func named(raw []byte, name string) bool {
	if len(raw) <= len(name) {
		return string(raw) == name
	}
	return bytes.IndexByte(raw, '\\') >= 0 && text(raw) == name
}

// text decodes a raw string without its quotes; empty when it cannot be decoded.
func text(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw)
	}
	var s string
	quoted := append(append([]byte{'"'}, raw...), '"')
	if json.Unmarshal(quoted, &s) != nil {
		return ""
	}
	return s
}

// inner takes the quotes off a raw string; false when the value is none.
func inner(value []byte) ([]byte, bool) {
	if len(value) < 2 || value[0] != '"' {
		return nil, false
	}
	return value[1 : len(value)-1], true
}

func space(b []byte, at int) int {
	for at < len(b) && (b[at] == ' ' || b[at] == '\n' || b[at] == '\t' || b[at] == '\r') {
		at++
	}
	return at
}

// str walks the string that begins at at, and returns where it ends.
func str(b []byte, at int) (end int, ok bool) {
	if at >= len(b) || b[at] != '"' {
		return at, false
	}
	from := at + 1
	for at = from; ; {
		i := bytes.IndexByte(b[at:], '"')
		if i < 0 {
			return len(b), false
		}
		quote := at + i
		escapes := 0
		for quote-1-escapes >= from && b[quote-1-escapes] == '\\' {
			escapes++
		}
		at = quote + 1
		if escapes%2 == 0 {
			return at, true
		}
	}
}

// skip walks the value that begins at at, and returns where it ends. That a number or a word is whole shows only by what
// follows.
func skip(b []byte, at int) (end int, ok bool) {
	if at >= len(b) {
		return at, false
	}
	switch b[at] {
	case '"':
		return str(b, at)
	case '{', '[':
	default:
		for at < len(b) {
			switch b[at] {
			case ',', '}', ']', ' ', '\n', '\t', '\r':
				return at, true
			}
			at++
		}
		return at, false
	}
	for depth := 0; at < len(b); {
		switch b[at] {
		case '"':
			if at, ok = str(b, at); !ok {
				return at, false
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return at + 1, true
			}
		}
		at++
	}
	return at, false
}

// maxTokens is beyond every real count; a larger one is an upstream's nonsense and not billed.
const maxTokens = 1_000_000_000

// count reads a number of tokens.
func count(object []byte, names ...string) (int64, bool) {
	raw, found := path(object, names...)
	if !found {
		return 0, false
	}
	n, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || !(n >= 0 && n <= maxTokens) {
		return 0, false
	}
	return int64(n), true
}

// prose adds up the strings of an event that a model reads as text: instructions, contents, arguments, descriptions of
// tools. An estimate needs no more, and images and audio are under other names.
func prose(b []byte) (total int64) {
	counts := false
	for at := 0; at < len(b); {
		i := bytes.IndexByte(b[at:], '"')
		if i < 0 {
			break
		}
		start := at + i
		end, ok := str(b, start)
		if !ok {
			break
		}
		at = space(b, end)
		if at < len(b) && b[at] == ':' {
			switch string(b[start+1 : end-1]) {
			case "text", "transcript", "instructions", "content", "input", "output", "arguments", "description":
				counts = true
			default:
				counts = false
			}
			continue
		}
		if counts {
			total += int64(end - start - 2)
		}
		counts = false
	}
	return total
}
