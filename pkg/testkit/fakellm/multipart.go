package fakellm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// multipartMedia is the content type of operations that take files.
const multipartMedia = "multipart/form-data"

// form is a multipart body, taken apart and checked.
type form struct {
	fields map[string][]string
	files  map[string][]file
}

// file is a part that has a file name.
type file struct {
	name, media string
	content     []byte
}

// readForm takes a body apart. What a gateway would break in it is refused: the last boundary gone, a part without a
// name, bytes after the end, a client's key.
func readForm(r *http.Request, body []byte) (*form, *apiError) {
	violation := func(what string) (*form, *apiError) {
		return nil, badRequest("gateway_violation", "body", "%s", what)
	}
	if bytes.Contains(body, []byte(clientKeyMark)) {
		return violation("a client key is in the body")
	}
	_, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || params["boundary"] == "" {
		return violation("header Content-Type has no boundary")
	}
	if !bytes.HasSuffix(bytes.TrimRight(body, "\r\n"), []byte("--"+params["boundary"]+"--")) {
		return violation("the body does not end with its last boundary")
	}
	f := &form{fields: map[string][]string{}, files: map[string][]file{}}
	reader := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for {
		part, err := reader.NextRawPart()
		if errors.Is(err, io.EOF) {
			return f, nil
		}
		if err != nil {
			return violation("the body is not multipart/form-data")
		}
		content, err := io.ReadAll(part)
		if err != nil {
			return violation("a part ends too early")
		}
		switch name := part.FormName(); {
		case name == "":
			return violation("a part has no name")
		case part.FileName() != "":
			f.files[name] = append(f.files[name], file{part.FileName(), part.Header.Get("Content-Type"), content})
		default:
			f.fields[name] = append(f.fields[name], string(content))
		}
	}
}

// rule says what a form's part may be. A list may come as name[] too, and more than once.
type rule struct {
	name             string
	file, list, must bool
	values           []string // those allowed; nil = any
}

// check refuses parts that no rule knows, wrong ones, and missing ones. Lists come out under their plain names.
func (f *form) check(rules []rule) *apiError {
	known := map[string]rule{}
	for _, r := range rules {
		known[r.name] = r
	}
	for given, values := range f.fields {
		name := strings.TrimSuffix(given, "[]")
		r, ok := known[name]
		switch {
		case !ok || (given != name && !r.list):
			return badRequest("unknown_parameter", given, "Unknown parameter: '%s'.", given)
		case r.file:
			return badRequest("invalid_type", given, "'%s' must be a file.", given)
		case len(values) > 1 && !r.list:
			return badRequest("gateway_violation", given, "the form has '%s' %d times", given, len(values))
		}
		for _, v := range values {
			if r.values != nil && !slices.Contains(r.values, v) {
				return badRequest("invalid_value", given, "Invalid value: '%s'. Supported values are: %s.", v,
					"'"+strings.Join(r.values, "', '")+"'")
			}
		}
		if given != name {
			f.fields[name] = values
			delete(f.fields, given)
		}
	}
	for given, files := range f.files {
		name := strings.TrimSuffix(given, "[]")
		r, ok := known[name]
		switch {
		case !ok || (given != name && !r.list):
			return badRequest("unknown_parameter", given, "Unknown parameter: '%s'.", given)
		case !r.file:
			return badRequest("invalid_type", given, "'%s' must not be a file.", given)
		case len(files) > 1 && !r.list:
			return badRequest("gateway_violation", given, "the form has '%s' %d times", given, len(files))
		}
		if given != name {
			f.files[name] = files
			delete(f.files, given)
		}
	}
	for _, r := range rules {
		if r.must && len(f.fields[r.name]) == 0 && len(f.files[r.name]) == 0 {
			return badRequest("missing_required_parameter", r.name, "Missing required parameter: '%s'.", r.name)
		}
	}
	return nil
}

// text is a field's value; "" when it was not given.
func (f *form) text(name string) string {
	if v := f.fields[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// number is a field's value in a range; low when it was not given.
func (f *form) number(name string, low, high int) (int, *apiError) {
	text := f.text(name)
	if text == "" {
		return low, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > high {
		return 0, badRequest("invalid_value", name, "'%s' must be between %d and %d", name, low, high)
	}
	return n, nil
}

// serveForm reads, checks and answers a POST of multipart/form-data.
func (x *exchange) serveForm(decode func(f *form) (answer, *apiError)) {
	var f *form
	x.serveBody(func(body []byte) (fault *apiError) {
		f, fault = readForm(x.r, body)
		return fault
	}, func([]byte) (answer, *apiError) {
		if x.deployment != "" {
			f.fields["model"] = []string{x.deployment}
		}
		return decode(f)
	})
}

// event frames a server-sent event that has a name.
func event(name string, data []byte) []byte {
	return fmt.Appendf(nil, "event: %s\ndata: %s\n\n", name, data)
}

// data frames a server-sent event that has none.
func data(data []byte) []byte {
	return fmt.Appendf(nil, "data: %s\n\n", data)
}
