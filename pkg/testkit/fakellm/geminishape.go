package fakellm

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// Google reads JSON as protocol buffers do: names in camel case or snake case, numbers also as strings, and nothing that
// the message does not have. The messages are Go structs; a field of type json.RawMessage takes anything.

// shapeFault is one field that Google would name in its answer.
type shapeFault struct {
	field, description string
}

// shape checks a body against a message and rewrites it to the one spelling that encoding/json decodes.
type shape struct {
	faults []shapeFault
}

// decodeShape decodes a body into a pointer to a message.
func decodeShape(body []byte, into any) *apiError {
	s := &shape{}
	out := s.value(nil, gjson.ParseBytes(body), reflect.TypeOf(into).Elem(), "")
	if len(s.faults) > 0 {
		return s.fault()
	}
	if err := json.Unmarshal(out, into); err != nil {
		return geminiBad("Invalid JSON payload received. %s", plain(err))
	}
	return nil
}

// fault is what Google answers: every field in the message, and once more in the details.
func (s *shape) fault() *apiError {
	var message strings.Builder
	details := []byte(`{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[`)
	for i, f := range s.faults {
		if i > 0 {
			message.WriteByte('\n')
			details = append(details, ',')
		}
		message.WriteString(f.description)
		details = append(details, '{')
		if f.field != "" {
			details = append(appendString(append(details, `"field":`...), f.field), ',')
		}
		details = append(appendString(append(details, `"description":`...), f.description), '}')
	}
	return &apiError{
		status: http.StatusBadRequest, code: "INVALID_ARGUMENT", message: message.String(), details: string(append(details, "]}"...)),
	}
}

func (s *shape) unknown(path, name string) {
	where := ""
	if path != "" {
		where = fmt.Sprintf(" at '%s'", path)
	}
	s.faults = append(s.faults, shapeFault{path, fmt.Sprintf(
		"Invalid JSON payload received. Unknown name %q%s: Cannot find field.", name, where)})
}

func (s *shape) invalid(path, kind string, v gjson.Result) {
	s.faults = append(s.faults, shapeFault{path, fmt.Sprintf("Invalid value at '%s' (%s), %s", path, kind, clip(v.Raw))})
}

// clip keeps a message short when the value is an image.
func clip(raw string) string {
	if len(raw) > 64 {
		return strings.ToValidUTF8(raw[:64], "") + "..."
	}
	return raw
}

func (s *shape) value(dst []byte, v gjson.Result, t reflect.Type, path string) []byte {
	if t == reflect.TypeFor[json.RawMessage]() || v.Type == gjson.Null {
		return append(dst, v.Raw...)
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.value(dst, v, t.Elem(), path)
	case reflect.Struct:
		return s.message(dst, v, t, path)
	case reflect.Map:
		return s.table(dst, v, t, path)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return s.bytes(dst, v, path)
		}
		if !v.IsArray() {
			// A single value is taken for a list of one, as Google takes it.
			return append(s.value(append(dst, '['), v, t.Elem(), path), ']')
		}
		dst = append(dst, '[')
		for i, one := range v.Array() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = s.value(dst, one, t.Elem(), fmt.Sprintf("%s[%d]", path, i))
		}
		return append(dst, ']')
	case reflect.String:
		if v.Type != gjson.String {
			s.invalid(path, "TYPE_STRING", v)
			return append(dst, `""`...)
		}
		return append(dst, v.Raw...)
	case reflect.Bool:
		if !v.IsBool() {
			s.invalid(path, "TYPE_BOOL", v)
			return append(dst, "false"...)
		}
		return append(dst, v.Raw...)
	case reflect.Int64:
		n, err := strconv.ParseInt(strings.TrimSuffix(v.String(), ".0"), 10, 64)
		if err != nil {
			s.invalid(path, "TYPE_INT32", v)
		}
		return strconv.AppendInt(dst, n, 10)
	case reflect.Float64:
		if _, err := strconv.ParseFloat(v.String(), 64); err != nil || v.IsBool() || !json.Valid([]byte(v.String())) {
			s.invalid(path, "TYPE_FLOAT", v)
			return append(dst, '0')
		}
		return append(dst, v.String()...)
	default:
		panic("fakellm: no shape for " + t.String())
	}
}

func (s *shape) message(dst []byte, v gjson.Result, t reflect.Type, path string) []byte {
	dst = append(dst, '{')
	if !v.IsObject() {
		s.invalid(path, "type.googleapis.com/google.ai.generativelanguage.v1beta."+strings.TrimPrefix(t.Name(), "gemini"), v)
		return append(dst, '}')
	}
	first := true
	v.ForEach(func(key, value gjson.Result) bool {
		field, ok := fieldOf(t, key.String())
		if !ok {
			s.unknown(path, key.String())
			return true
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		name := field.Tag.Get("json")
		dst = append(appendString(dst, name), ':')
		inner := snake(name)
		if path != "" {
			inner = path + "." + inner
		}
		dst = s.value(dst, value, field.Type, inner)
		return true
	})
	return append(dst, '}')
}

func (s *shape) table(dst []byte, v gjson.Result, t reflect.Type, path string) []byte {
	dst = append(dst, '{')
	if !v.IsObject() {
		s.invalid(path, "Map", v)
		return append(dst, '}')
	}
	i := 0
	v.ForEach(func(key, value gjson.Result) bool {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(dst, key.Raw...), ':')
		dst = s.value(dst, value, t.Elem(), fmt.Sprintf("%s[%d].value", path, i))
		i++
		return true
	})
	return append(dst, '}')
}

// bytes checks base64, in the standard's or the URL's alphabet, with padding or without, and writes the standard's.
func (s *shape) bytes(dst []byte, v gjson.Result, path string) []byte {
	text := strings.NewReplacer("-", "+", "_", "/", "=", "").Replace(v.String())
	raw, err := base64.RawStdEncoding.DecodeString(text)
	if v.Type != gjson.String || err != nil {
		s.faults = append(s.faults, shapeFault{path, fmt.Sprintf(
			"Invalid value at '%s' (TYPE_BYTES), Base64 decoding failed for %s", path, clip(v.Raw))})
		return append(dst, `""`...)
	}
	dst = append(dst, '"')
	return append(base64.StdEncoding.AppendEncode(dst, raw), '"')
}

// fieldOf finds a message's field by either spelling of its name.
func fieldOf(t reflect.Type, name string) (reflect.StructField, bool) {
	for i := range t.NumField() {
		field := t.Field(i)
		if camel := field.Tag.Get("json"); camel == name || snake(camel) == name {
			return field, true
		}
	}
	return reflect.StructField{}, false
}

// snake is the other spelling of a name in camel case.
func snake(camel string) string {
	out := make([]byte, 0, len(camel)+4)
	for _, c := range []byte(camel) {
		if c >= 'A' && c <= 'Z' {
			out = append(out, '_', c-'A'+'a')
		} else {
			out = append(out, c)
		}
	}
	return string(out)
}
