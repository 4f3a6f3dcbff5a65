package ctl

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"sigs.k8s.io/yaml"
)

// The plain form is how messages look on the terminal and in files, as JSON or YAML: field names as in the .proto,
// numbers as numbers, enums without their prefix and in lower case ("openai" for PROVIDER_OPENAI), timestamps and
// durations as protobuf's JSON has them. Fields at their default are left out, except in counters.

// toPlain returns m in the plain form. keepZero keeps fields at their default.
func toPlain(m proto.Message, keepZero bool) any {
	return messageToPlain(m.ProtoReflect(), keepZero)
}

func messageToPlain(m protoreflect.Message, keepZero bool) any {
	switch m.Interface().(type) {
	case *timestamppb.Timestamp, *durationpb.Duration:
		raw, err := protojson.Marshal(m.Interface())
		if err != nil {
			return nil
		}
		return strings.Trim(string(raw), `"`)
	}
	out := map[string]any{}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if !m.Has(fd) && (!keepZero || fd.Message() != nil || fd.ContainingOneof() != nil) {
			continue
		}
		out[fd.TextName()] = fieldToPlain(fd, m.Get(fd), keepZero)
	}
	return out
}

func fieldToPlain(fd protoreflect.FieldDescriptor, v protoreflect.Value, keepZero bool) any {
	switch {
	case fd.IsMap():
		out := map[string]any{}
		v.Map().Range(func(k protoreflect.MapKey, mv protoreflect.Value) bool {
			out[k.String()] = scalarToPlain(fd.MapValue(), mv, keepZero)
			return true
		})
		return out
	case fd.IsList():
		out := make([]any, 0, v.List().Len())
		for i := range v.List().Len() {
			out = append(out, scalarToPlain(fd, v.List().Get(i), keepZero))
		}
		return out
	}
	return scalarToPlain(fd, v, keepZero)
}

func scalarToPlain(fd protoreflect.FieldDescriptor, v protoreflect.Value, keepZero bool) any {
	switch fd.Kind() {
	case protoreflect.MessageKind:
		return messageToPlain(v.Message(), keepZero)
	case protoreflect.EnumKind:
		return enumName(fd.Enum(), v.Enum())
	case protoreflect.BytesKind:
		return fmt.Sprintf("%x", v.Bytes())
	}
	return v.Interface()
}

// enumPrefix is the part that buf's style puts before every value: PROVIDER_ for Provider.
func enumPrefix(ed protoreflect.EnumDescriptor) string {
	var b strings.Builder
	for i, r := range string(ed.Name()) {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToUpper(b.String()) + "_"
}

func enumName(ed protoreflect.EnumDescriptor, n protoreflect.EnumNumber) string {
	vd := ed.Values().ByNumber(n)
	if vd == nil {
		return fmt.Sprint(n)
	}
	return strings.ToLower(strings.TrimPrefix(string(vd.Name()), enumPrefix(ed)))
}

// enumNumber reads the short form of an enum value.
func enumNumber(ed protoreflect.EnumDescriptor, name string) (protoreflect.EnumNumber, error) {
	full := enumPrefix(ed) + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
	if vd := ed.Values().ByName(protoreflect.Name(full)); vd != nil && vd.Number() != 0 {
		return vd.Number(), nil
	}
	return 0, fmt.Errorf("%q is not one of %s", name, strings.Join(enumNames(ed), ", "))
}

func enumNames(ed protoreflect.EnumDescriptor) []string {
	var names []string
	for i := range ed.Values().Len() {
		if n := ed.Values().Get(i).Number(); n != 0 {
			names = append(names, enumName(ed, n))
		}
	}
	return names
}

// fromPlain reads the plain form into m. Unknown fields are errors.
func fromPlain(plain map[string]any, m proto.Message) error {
	full, err := longEnums(m.ProtoReflect().Descriptor(), plain)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(full)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	if err := protojson.Unmarshal(raw, m); err != nil {
		// protojson's text begins with its own name and a position in JSON that the user never wrote.
		msg := err.Error()
		if i := strings.LastIndex(msg, "): "); i >= 0 {
			msg = msg[i+3:]
		}
		return fmt.Errorf("%s", msg)
	}
	return nil
}

// longEnums returns a copy of plain with enum values spelled as protobuf's JSON wants them.
func longEnums(md protoreflect.MessageDescriptor, plain map[string]any) (map[string]any, error) {
	out := make(map[string]any, len(plain))
	for name, v := range plain {
		fd := md.Fields().ByTextName(name)
		if fd == nil {
			known := make([]string, 0, md.Fields().Len())
			for i := range md.Fields().Len() {
				known = append(known, md.Fields().Get(i).TextName())
			}
			slices.Sort(known)
			return nil, fmt.Errorf("unknown field %q (there are %s)", name, strings.Join(known, ", "))
		}
		switch {
		case fd.Kind() == protoreflect.EnumKind && !fd.IsList():
			n, err := longEnum(fd.Enum(), v)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			v = n
		case fd.Kind() == protoreflect.EnumKind:
			items, ok := v.([]any)
			if !ok {
				break // protojson says what is wrong with it
			}
			long := make([]any, 0, len(items))
			for i, item := range items {
				n, err := longEnum(fd.Enum(), item)
				if err != nil {
					return nil, fmt.Errorf("%s[%d]: %w", name, i, err)
				}
				long = append(long, n)
			}
			v = long
		case fd.Message() != nil && fd.IsList():
			items, ok := v.([]any)
			if !ok {
				break // protojson says what is wrong with it
			}
			long := make([]any, 0, len(items))
			for i, item := range items {
				sub, ok := item.(map[string]any)
				if !ok {
					return nil, fmt.Errorf("%s[%d]: want an object", name, i)
				}
				full, err := longEnums(fd.Message(), sub)
				if err != nil {
					return nil, fmt.Errorf("%s[%d]: %w", name, i, err)
				}
				long = append(long, full)
			}
			v = long
		case fd.Message() != nil && !fd.IsMap() && !fd.IsList():
			if sub, ok := v.(map[string]any); ok {
				long, err := longEnums(fd.Message(), sub)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", name, err)
				}
				v = long
			}
		}
		out[name] = v
	}
	return out, nil
}

func longEnum(ed protoreflect.EnumDescriptor, v any) (int32, error) {
	s, ok := v.(string)
	if !ok {
		return 0, fmt.Errorf("want one of %s", strings.Join(enumNames(ed), ", "))
	}
	n, err := enumNumber(ed, s)
	return int32(n), err
}

// encodeYAML renders a plain value with its keys in alphabetical order.
func encodeYAML(v any) ([]byte, error) { return yaml.Marshal(v) }
