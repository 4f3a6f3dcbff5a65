package fakellm

import (
	"strings"

	"github.com/tidwall/gjson"
)

// maxSampleDepth bounds how deep an instance nests: a schema can refer to itself.
// maxSampleBytes is where an instance stops to grow, about.
const (
	maxSampleDepth = 16
	maxSampleBytes = 1 << 16
)

// sampleOf is an instance of a JSON schema: every required property with a value of its type. It knows what schemas for
// tools and structured output use, in JSON Schema's spelling and in Google's capitals.
func sampleOf(schema []byte) string {
	root := gjson.ParseBytes(schema)
	// A schema's own bytes may be no UTF-8, which cannot be cut between characters.
	return strings.ToValidUTF8(string(appendSample(nil, root, root, 0)), "\uFFFD")
}

func appendSample(dst []byte, root, schema gjson.Result, depth int) []byte {
	members := schema.Map()
	if depth > maxSampleDepth || len(dst) > maxSampleBytes {
		return append(dst, "null"...)
	}
	if ref := members["$ref"].String(); ref != "" {
		return appendSample(dst, root, resolve(root, ref), depth+1)
	}
	if value, ok := members["const"]; ok {
		return append(dst, value.Raw...)
	}
	if values := members["enum"].Array(); len(values) > 0 {
		return append(dst, values[0].Raw...)
	}
	for _, name := range []string{"anyOf", "oneOf", "allOf"} {
		if of := members[name].Array(); len(of) > 0 {
			return appendSample(dst, root, of[0], depth+1)
		}
	}
	kind := members["type"]
	if kind.IsArray() && len(kind.Array()) > 0 {
		kind = kind.Array()[0]
	}
	switch strings.ToLower(kind.String()) {
	case "string":
		return append(dst, `"fake"`...)
	case "integer", "number":
		if least := members["minimum"]; least.Type == gjson.Number {
			return append(dst, least.Raw...)
		}
		return append(dst, '1')
	case "boolean":
		return append(dst, "true"...)
	case "array":
		dst = append(dst, '[')
		for i := range min(int(members["minItems"].Int()), 8) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendSample(dst, root, members["items"], depth+1)
		}
		return append(dst, ']')
	case "object":
		return appendSampleObject(dst, root, members, depth)
	}
	if depth == 0 {
		// A tool without parameters takes an object all the same.
		return appendSampleObject(dst, root, members, depth)
	}
	return append(dst, "null"...)
}

func appendSampleObject(dst []byte, root gjson.Result, members map[string]gjson.Result, depth int) []byte {
	properties := members["properties"].Map()
	dst = append(dst, '{')
	for i, name := range members["required"].Array() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, name.String()), ':')
		dst = appendSample(dst, root, properties[name.String()], depth+1)
	}
	return append(dst, '}')
}

// resolve follows a reference inside the schema.
func resolve(root gjson.Result, ref string) gjson.Result {
	at := root
	for _, step := range strings.Split(strings.TrimPrefix(ref, "#"), "/") {
		if step != "" {
			at = at.Map()[step]
		}
	}
	return at
}
