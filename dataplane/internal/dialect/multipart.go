package dialect

import (
	"bytes"
	"mime"

	"fairway/pkg/fault"
)

// maxParts is how many parts a form may have.
const maxParts = 256

// PeekMultipart reads a multipart form (RFC 7578) without copying any of it: where its part "model" is, and what its parts
// "stream", "prompt" and "n" say. contentType is the header's value. It returns a fault (400) when the form is malformed, when
// the model is missing, empty, too long or there twice, and when there are too many parts.
func PeekMultipart(body, contentType []byte) (Peek, *fault.Error) {
	p := Peek{Form: true}
	_, params, err := mime.ParseMediaType(string(contentType))
	boundary := params["boundary"]
	if err != nil || boundary == "" || len(boundary) > 70 {
		return p, invalid("the Content-Type must name the boundary of the form")
	}
	delimiter := []byte("\r\n--" + boundary)
	if !bytes.HasPrefix(body, delimiter[2:]) {
		return p, invalid("the form does not begin with its boundary")
	}
	at := len(delimiter) - 2
	var model, stream bool
	for range maxParts {
		rest := body[at:]
		if bytes.HasPrefix(rest, []byte("--")) {
			if !model {
				return p, invalid("you must provide a model parameter").WithParam("model")
			}
			return p, nil
		}
		line := bytes.Index(rest, []byte("\r\n"))
		if line < 0 || len(bytes.Trim(rest[:line], " \t")) > 0 {
			return p, invalid("the form is malformed behind a boundary")
		}
		at += line + 2
		name, head, ok := partName(body[at:])
		if !ok {
			return p, invalid("a part of the form has a malformed head")
		}
		at += head
		end := bytes.Index(body[at:], delimiter)
		if end < 0 {
			return p, invalid("the form is not complete")
		}
		value := Span{at, at + end}
		at += end + len(delimiter)
		switch name {
		case "model":
			if model {
				return p, invalid("the form has model more than once").WithParam("model")
			}
			model = true
			if p.Model, p.ModelAt = body[value.Start:value.End], value; len(p.Model) == 0 {
				return p, invalid("model must not be empty").WithParam("model")
			}
			if !plainName(p.Model) {
				return p, invalid("model is too long or has characters that no model's name has").WithParam("model")
			}
		case "stream":
			if stream {
				return p, invalid("the form has stream more than once").WithParam("stream")
			}
			stream = true
			p.Stream = string(body[value.Start:value.End]) == "true"
		case "prompt":
			p.TextBytes += value.End - value.Start
		case "n":
			p.Asks.Answers, _ = wholeNumber(body[value.Start:value.End])
		}
	}
	return p, invalid("the form has too many parts")
}

// partName reads the head of a part: its name ("" if it has none), and how long the head is.
func partName(b []byte) (name string, size int, ok bool) {
	const maxHead = 8 << 10
	end := bytes.Index(b[:min(len(b), maxHead)], []byte("\r\n\r\n"))
	if end < 0 {
		if bytes.HasPrefix(b, []byte("\r\n")) {
			return "", 2, true // no head at all
		}
		return "", 0, false
	}
	for line := range bytes.SplitSeq(b[:end], []byte("\r\n")) {
		field, value, ok := bytes.Cut(line, []byte{':'})
		if !ok || !bytes.EqualFold(bytes.TrimSpace(field), []byte("content-disposition")) {
			continue
		}
		_, params, err := mime.ParseMediaType(string(value))
		if err != nil {
			return "", 0, false
		}
		name = params["name"]
	}
	return name, end + 4, true
}

// plainName says whether a model's name can be written into a form, a path or a string as it is.
func plainName(name []byte) bool {
	if len(name) > maxModel {
		return false
	}
	for _, c := range name {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}
