package provider

import (
	"strings"

	"fairway/pkg/operation"
)

// route is where an operation is: a path, perhaps with one hole in it, and what the query begins with.
type route struct {
	head, tail string
	hole       hole
	query      string // without a question mark
	model      string // the query's parameter that names the model, with its equals sign; "" = none
}

type hole uint8

const (
	noHole hole = iota
	modelHole
	idHole
)

// newRoute reads a path with {model} or {id} in it.
func newRoute(path string) route {
	if head, tail, ok := strings.Cut(path, "{model}"); ok {
		return route{head: head, tail: tail, hole: modelHole}
	}
	if head, tail, ok := strings.Cut(path, "{id}"); ok {
		return route{head: head, tail: tail, hole: idHole}
	}
	return route{head: path}
}

// appendPath appends the path. Nothing in a name gets out of its segment.
func (t *route) appendPath(dst []byte, model, id string) []byte {
	dst = append(dst, t.head...)
	switch t.hole {
	case modelHole:
		dst = appendSegment(dst, model)
	case idHole:
		dst = appendSegment(dst, id)
	}
	return append(dst, t.tail...)
}

// append appends the target: the path, the route's own query, and the client's without the parameters that own names. Those
// are in lower case.
func (t *route) append(dst []byte, r *Request, own ...string) []byte {
	dst = t.appendPath(dst, r.Model, r.ID)
	separator := byte('?')
	if t.query != "" {
		dst = append(dst, separator)
		dst = append(dst, t.query...)
		separator = '&'
	}
	if t.model != "" {
		dst = append(dst, separator)
		dst = append(dst, t.model...)
		dst = appendSegment(dst, r.Model)
		separator = '&'
	}
	if len(r.Query) == 0 {
		return dst
	}
	return appendQuery(dst, separator, r.Query, own)
}

// appendQuery appends the pairs of a client's query but those whose names are in own. What may not stand in a query is
// escaped.
func appendQuery(dst []byte, separator byte, query []byte, own []string) []byte {
	for len(query) > 0 {
		pair := query
		end := len(query)
		for i, c := range query {
			if c == '&' {
				pair, end = query[:i], i+1
				break
			}
		}
		query = query[end:]
		if len(pair) == 0 || owned(pair, own) {
			continue
		}
		dst = append(dst, separator)
		separator = '&'
		for _, c := range pair {
			if c <= ' ' || c >= 0x7f || c == '#' || c == '"' || c == '<' || c == '>' {
				dst = appendEscaped(dst, c)
				continue
			}
			dst = append(dst, c)
		}
	}
	return dst
}

// owned says whether a pair's name is one of names, in any case and however it is escaped.
func owned(pair []byte, names []string) bool {
	for _, name := range names {
		if isNamed(pair, name) {
			return true
		}
	}
	return false
}

func isNamed(pair []byte, name string) bool {
	at := 0
	for at < len(pair) && pair[at] != '=' {
		c, size := pair[at], 1
		if c == '%' && at+2 < len(pair) {
			high, low := hexValue(pair[at+1]), hexValue(pair[at+2])
			if high >= 0 && low >= 0 {
				c, size = byte(high<<4|low), 3
			}
		}
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if name == "" || name[0] != c {
			return false
		}
		name = name[1:]
		at += size
	}
	return name == ""
}

func hexValue(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// appendSegment appends a name as one segment of a path, or as a value in a query. A name of dots, which would be a way up
// even when it is escaped, is escaped twice: nothing has such a name. So is no name at all.
func appendSegment(dst []byte, name string) []byte {
	switch {
	case name == "":
		return append(dst, "%2500"...)
	case dots(name):
		for range len(name) {
			dst = append(dst, "%252E"...)
		}
		return dst
	}
	for i := range len(name) {
		if c := name[i]; unreserved(c) || c == '@' {
			dst = append(dst, c)
		} else {
			dst = appendEscaped(dst, c)
		}
	}
	return dst
}

func appendEscaped(dst []byte, c byte) []byte {
	const hex = "0123456789ABCDEF"
	return append(dst, '%', hex[c>>4], hex[c&15])
}

func dots(s string) bool { return s == "." || s == ".." }

// unreserved is RFC 3986's, section 2.3.
func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// streaming is the operation whose path streams op's answer, where paths tell.
func streaming(op operation.Operation, stream bool) operation.Operation {
	if stream {
		switch op {
		case operation.Generate:
			return operation.StreamGenerate
		case operation.Converse:
			return operation.ConverseStream
		}
	}
	return op
}
