package gemini

import (
	"strings"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
)

// jsonSchema turns Google's Schema, a subset of OpenAPI 3.0's with types in capitals, counts in strings, nullable and an
// order of properties, into a JSON Schema that says the same.
func jsonSchema(v gjson.Result, losses *neutral.Losses) string {
	return text(appendSchema(make([]byte, 0, len(v.Raw)), v, 0, losses))
}

// maxSchema is how deep schemas nest that are translated. Each level is read again with each one above it.
const maxSchema = 64

// appendSchema appends a schema that is depth levels inside another one. What is too deep stays as it is.
func appendSchema(dst []byte, v gjson.Result, depth int, losses *neutral.Losses) []byte {
	if depth > maxSchema {
		losses.Add(neutral.LossSchema)
		return append(dst, v.Raw...)
	}
	if !v.IsObject() {
		return append(dst, v.Raw...)
	}
	// These two change how the others are written.
	nullable := false
	var order gjson.Result
	member(v, func(name string, v gjson.Result) bool {
		switch name {
		case "nullable":
			nullable = v.Bool()
		case "propertyOrdering":
			order = v
		}
		return true
	})
	var l list
	dst = append(dst, '{')
	member(v, func(name string, v gjson.Result) bool {
		switch name {
		case "nullable", "propertyOrdering":
		case "type":
			dst = appendType(dst, &l, v, nullable)
		case "minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties":
			if n, err := number(v); err == nil { // an int64 is a string in a proto's JSON
				dst = append(l.name(dst, name), n...)
			}
		case "properties":
			dst = appendProperties(l.name(dst, name), v, order, depth, losses)
		case "items", "additionalProperties":
			dst = appendSchema(l.name(dst, name), v, depth+1, losses)
		case "anyOf", "prefixItems":
			dst = append(l.name(dst, name), '[')
			var inner list
			elements(v, func(_ int, v gjson.Result) bool {
				dst = appendSchema(inner.next(dst), v, depth+1, losses)
				return true
			})
			dst = append(dst, ']')
		case "example":
			dst = append(l.name(dst, "examples"), '[')
			dst = append(append(dst, v.Raw...), ']')
		case "enum":
			dst = append(l.name(dst, name), '[')
			var inner list
			elements(v, func(_ int, v gjson.Result) bool {
				dst = append(inner.next(dst), v.Raw...)
				return true
			})
			if nullable {
				dst = append(inner.next(dst), "null"...)
			}
			dst = append(dst, ']')
		case "format":
			// "enum" is how Google marks a string with an enum; JSON Schema has no such format.
			if v.Str != "enum" {
				dst = append(l.name(dst, name), v.Raw...)
			}
		case "title", "description", "required", "minimum", "maximum", "pattern", "default":
			dst = append(l.name(dst, name), v.Raw...)
		default:
			// A member of JSON Schema that Google's own has not, which some send all the same.
			dst = append(append(dialect.AppendQuoted(l.next(dst), name), ':'), v.Raw...)
			losses.AddIf(name == "ref" || name == "defs", neutral.LossSchema)
		}
		return true
	})
	return append(dst, '}')
}

func appendType(dst []byte, l *list, v gjson.Result, nullable bool) []byte {
	kind := strings.ToLower(v.Str)
	switch {
	case v.Type != gjson.String:
		return append(l.name(dst, "type"), v.Raw...)
	case kind == "type_unspecified":
		return dst
	case nullable && kind != "null":
		dst = append(l.name(dst, "type"), '[')
		return append(dialect.AppendQuoted(dst, kind), `,"null"]`...)
	}
	return l.quoted(dst, "type", kind)
}

// appendProperties writes the properties in the order that propertyOrdering names, which is the order that models answer in,
// then the others.
func appendProperties(dst []byte, v, order gjson.Result, depth int, losses *neutral.Losses) []byte {
	if !v.IsObject() {
		return append(dst, v.Raw...)
	}
	var first map[string]bool
	var l list
	dst = append(dst, '{')
	write := func(key string, v gjson.Result) {
		dst = append(dialect.AppendQuoted(l.next(dst), key), ':')
		dst = appendSchema(dst, v, depth+1, losses)
	}
	if order.IsArray() {
		all := make(map[string]gjson.Result)
		v.ForEach(func(key, v gjson.Result) bool {
			all[key.Str] = v
			return true
		})
		first = make(map[string]bool, len(all))
		order.ForEach(func(_, name gjson.Result) bool {
			if v, ok := all[name.Str]; ok && !first[name.Str] {
				first[name.Str] = true
				write(name.Str, v)
			}
			return true
		})
	}
	v.ForEach(func(key, v gjson.Result) bool {
		if !first[key.Str] {
			write(key.Str, v)
		}
		return true
	})
	return append(dst, '}')
}
