package anthropic

import (
	"bytes"
	"strconv"

	"fairway/dataplane/internal/dialect"
	"fairway/pkg/money"
)

const usageKey = `"usage"`

// counts are the numbers of a usage object. A later object sets what it says and leaves the rest: what a stream says at its
// end are totals.
type counts struct {
	input, write, read, output int64 // input is what no cache had to do with
	short, long                int64 // parts of write, by how long they are kept
	thinking                   int64
}

// scan reads the members of a usage object whose brace was taken. said becomes true with the first count.
func (c *counts) scan(s *dialect.Scanner, said *bool) bool {
	return s.Members(func(key []byte) bool {
		switch string(key) {
		case "input_tokens":
			return s.Count(&c.input, said)
		case "cache_creation_input_tokens":
			return s.Count(&c.write, said)
		case "cache_read_input_tokens":
			return s.Count(&c.read, said)
		case "output_tokens":
			return s.Count(&c.output, said)
		case "cache_creation":
			return members(s, func(key []byte) bool {
				switch string(key) {
				case "ephemeral_5m_input_tokens":
					return s.Count(&c.short, said)
				case "ephemeral_1h_input_tokens":
					return s.Count(&c.long, said)
				}
				return s.Value()
			})
		case "output_tokens_details":
			return members(s, func(key []byte) bool {
				if string(key) == "thinking_tokens" {
					return s.Count(&c.thinking, said)
				}
				return s.Value()
			})
		}
		return s.Value()
	}) == ""
}

// members walks the members of the value at s, if it is an object, and over it if it is not.
func members(s *dialect.Scanner, each func(key []byte) bool) bool {
	if !s.Take('{') {
		return s.Value()
	}
	return s.Members(each) == ""
}

// tokens are the counts in our terms, where input includes what came from caches and went into them.
func (c *counts) tokens() money.Tokens {
	write := c.write
	if write == 0 {
		write = c.short + c.long
	}
	long := min(c.long, write)
	return money.Tokens{
		Input:  c.input + c.read + write,
		Cached: c.read, CacheWrite: write - long, CacheWriteLong: long,
		Output: c.output, Reasoning: min(c.thinking, c.output),
	}
}

// first reads the first usage object of b into c, last the last one; false = there is none with a count.
func (c *counts) first(b []byte) bool {
	for {
		i := bytes.Index(b, []byte(usageKey))
		if i < 0 {
			return false
		}
		b = b[i+len(usageKey):]
		if c.after(b) {
			return true
		}
	}
}

func (c *counts) last(b []byte) bool {
	for {
		i := bytes.LastIndex(b, []byte(usageKey))
		if i < 0 {
			return false
		}
		if c.after(b[i+len(usageKey):]) {
			return true
		}
		b = b[:i]
	}
}

// after reads the object that follows its name. Half an object changes nothing.
func (c *counts) after(b []byte) bool {
	s := dialect.Scanner{B: b, SSE: true}
	if !s.OpenAfter() {
		return false
	}
	next, said := *c, false
	if !next.scan(&s, &said) || !said {
		return false
	}
	*c = next
	return true
}

// findUsage finds what was used: in a plain body the last usage object, in a stream the first, of message_start, as the
// last, of message_delta, corrects it. A plain body's tools hold JSON of the model's making, which always stands before
// the true object; in a stream it is text, in which quotes are escaped.
func findUsage(head, tail []byte) (money.Tokens, bool) {
	begin := head
	if len(begin) == 0 {
		begin = tail
	}
	var c counts
	found := false
	if begin = bytes.TrimLeft(begin, " \t\r\n"); len(begin) > 0 && begin[0] != '{' {
		found = c.first(begin)
	}
	if c.last(tail) || c.last(head) {
		found = true
	}
	return c.tokens(), found
}

// appendUsage appends a usage object.
func appendUsage(dst []byte, t *money.Tokens) []byte {
	write := t.CacheWrite + t.CacheWriteLong
	dst = append(dst, `{"input_tokens":`...)
	dst = strconv.AppendInt(dst, max(t.Input-t.Cached-write, 0), 10)
	dst = append(dst, `,"cache_creation_input_tokens":`...)
	dst = strconv.AppendInt(dst, write, 10)
	dst = append(dst, `,"cache_read_input_tokens":`...)
	dst = strconv.AppendInt(dst, t.Cached, 10)
	if write > 0 {
		dst = append(dst, `,"cache_creation":{"ephemeral_5m_input_tokens":`...)
		dst = strconv.AppendInt(dst, t.CacheWrite, 10)
		dst = append(dst, `,"ephemeral_1h_input_tokens":`...)
		dst = strconv.AppendInt(dst, t.CacheWriteLong, 10)
		dst = append(dst, '}')
	}
	dst = append(dst, `,"output_tokens":`...)
	dst = strconv.AppendInt(dst, t.Output, 10)
	if t.Reasoning > 0 {
		dst = append(dst, `,"output_tokens_details":{"thinking_tokens":`...)
		dst = strconv.AppendInt(dst, t.Reasoning, 10)
		dst = append(dst, '}')
	}
	return append(dst, '}')
}
