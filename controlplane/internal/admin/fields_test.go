package admin

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// packages are the files of every message that the admin API can send or receive.
func packages() []protoreflect.FileDescriptor {
	return []protoreflect.FileDescriptor{
		resourcev1.File_fairway_resource_v1_account_proto, resourcev1.File_fairway_resource_v1_channel_proto,
		resourcev1.File_fairway_resource_v1_credential_proto, resourcev1.File_fairway_resource_v1_group_proto, resourcev1.File_fairway_resource_v1_key_proto,
		resourcev1.File_fairway_resource_v1_limits_proto, resourcev1.File_fairway_resource_v1_notifier_proto,
		resourcev1.File_fairway_resource_v1_tenant_proto,
		resourcev1.File_fairway_resource_v1_metadata_proto, resourcev1.File_fairway_resource_v1_model_proto,
		resourcev1.File_fairway_resource_v1_operator_proto, resourcev1.File_fairway_resource_v1_secret_proto,
		resourcev1.File_fairway_resource_v1_settings_proto, resourcev1.File_fairway_resource_v1_verdict_proto,
		adminv1.File_fairway_admin_v1_account_proto, adminv1.File_fairway_admin_v1_audit_proto,
		adminv1.File_fairway_admin_v1_channel_proto, adminv1.File_fairway_admin_v1_diagnostics_proto,
		adminv1.File_fairway_admin_v1_error_proto, adminv1.File_fairway_admin_v1_fleet_proto,
		adminv1.File_fairway_admin_v1_group_proto, adminv1.File_fairway_admin_v1_key_proto,
		adminv1.File_fairway_admin_v1_model_proto, adminv1.File_fairway_admin_v1_operator_proto,
		adminv1.File_fairway_admin_v1_settings_proto, adminv1.File_fairway_admin_v1_usage_proto,
		adminv1.File_fairway_admin_v1_tenant_proto, adminv1.File_fairway_admin_v1_notifier_proto, adminv1.File_fairway_admin_v1_limit_proto,
	}
}

// eachField visits the fields of all messages, nested ones too.
func eachField(visit func(protoreflect.FieldDescriptor)) {
	var walk func(protoreflect.MessageDescriptors)
	walk = func(all protoreflect.MessageDescriptors) {
		for i := range all.Len() {
			for j := range all.Get(i).Fields().Len() {
				visit(all.Get(i).Fields().Get(j))
			}
			walk(all.Get(i).Messages())
		}
	}
	for _, f := range packages() {
		walk(f.Messages())
	}
}

func protoDir(t *testing.T) string {
	t.Helper()
	return filepath.Join("..", "..", "..", "proto", "fairway")
}

// The .proto files say in words which fields are not plain data. A field that says so and is missing in traitOf would
// be shown to everybody, or taken from anybody.
func TestTraitsAreThoseOfTheProtoFiles(t *testing.T) {
	said := make(map[string]string) // message.field -> phrase
	message := regexp.MustCompile(`^\s*message (\w+) \{`)
	field := regexp.MustCompile(`^\s*(?:repeated |optional )?[\w.<>, ]+ (\w+) = \d+`)
	phrase := regexp.MustCompile(`(?i)\b(at rest only|input only|output only)\b`)
	for _, dir := range []string{"resource/v1", "admin/v1"} {
		files, err := filepath.Glob(filepath.Join(protoDir(t), dir, "*.proto"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no .proto files in %s: %v", dir, err)
		}
		for _, name := range files {
			raw, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var in, comment string
			for line := range strings.Lines(string(raw)) {
				switch {
				case message.MatchString(line):
					in, comment = message.FindStringSubmatch(line)[1], ""
				case strings.HasPrefix(strings.TrimSpace(line), "//"):
					comment += line
				case field.MatchString(line):
					if p := phrase.FindString(comment); p != "" {
						said[in+"."+field.FindStringSubmatch(line)[1]] = strings.ToLower(p)
					}
					comment = ""
				default:
					comment = ""
				}
			}
		}
	}
	if len(said) < 8 {
		t.Fatalf("found only %d such fields: %v; does this test still read the files?", len(said), said)
	}
	want := map[string]trait{"at rest only": atRestOnly, "input only": inputOnly, "output only": outputOnly}
	found := 0
	eachField(func(fd protoreflect.FieldDescriptor) {
		name := string(fd.Parent().Name()) + "." + string(fd.Name())
		p, ok := said[name]
		got := traitOf(fd)
		switch {
		case ok:
			found++
			if got != want[p] {
				t.Errorf("%s says %q; traitOf says %d, want %d", fd.FullName(), p, got, want[p])
			}
		case got == atRestOnly || got == inputOnly || got == outputOnly:
			t.Errorf("%s: traitOf says %d, and its .proto file says nothing", fd.FullName(), got)
		}
	})
	if found != len(said) {
		t.Errorf("met %d of the %d fields: a file is missing in packages()", found, len(said))
	}
}

// plant fills every field of a message, at any depth, and puts one text into those that are hidden and the other into
// the rest.
func plant(m protoreflect.Message, depth int, hidden, open string) {
	for i := range m.Descriptor().Fields().Len() {
		fd := m.Descriptor().Fields().Get(i)
		inside := open
		if traitOf(fd).hidden() {
			inside = hidden // and so is all that is in it
		}
		switch {
		case fd.IsMap():
			if fd.MapKey().Kind() == protoreflect.StringKind && fd.MapValue().Kind() == protoreflect.StringKind {
				m.Mutable(fd).Map().Set(protoreflect.ValueOfString(open).MapKey(), protoreflect.ValueOfString(inside))
			}
		case fd.Message() != nil && depth == 0:
		case fd.Message() != nil && fd.IsList():
			plant(m.Mutable(fd).List().AppendMutable().Message(), depth-1, hidden, inside)
		case fd.Message() != nil:
			plant(m.Mutable(fd).Message(), depth-1, hidden, inside)
		case fd.IsList():
			m.Mutable(fd).List().Append(scalar(fd, inside))
		default:
			m.Set(fd, scalar(fd, inside))
		}
	}
}

// scalar is a value for the field that is not its zero.
func scalar(fd protoreflect.FieldDescriptor, text string) protoreflect.Value {
	switch fd.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(text)
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(text))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(1)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(len(text)))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(len(text)))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(uint64(len(text)))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(len(text)))
	default:
		return protoreflect.ValueOfInt64(int64(len(text)))
	}
}

// Every message of the API is filled to the brim and redacted: of what is hidden nothing may be left, and of the rest
// everything.
func TestRedactAllMessages(t *testing.T) {
	const hidden, open = "canary-hidden", "canary-open"
	types := 0
	var walk func(protoreflect.MessageDescriptors)
	walk = func(all protoreflect.MessageDescriptors) {
		for i := range all.Len() {
			md := all.Get(i)
			walk(md.Messages())
			if md.IsMapEntry() {
				continue
			}
			types++
			mt := messageType(t, md)
			m := mt.New()
			plant(m, 6, hidden, open)
			before, err := proto.Marshal(m.Interface())
			if err != nil {
				t.Fatalf("%s: %v", md.FullName(), err)
			}
			m.SetUnknown(unknownField(hidden))
			clean := redact(m.Interface())
			after, err := proto.Marshal(clean)
			if err != nil {
				t.Fatalf("%s: %v", md.FullName(), err)
			}
			if bytes.Contains(after, []byte(hidden)) {
				t.Errorf("%s still holds a hidden field after redact", md.FullName())
			}
			if got, want := bytes.Count(after, []byte(open)), bytes.Count(before, []byte(open)); got != want {
				t.Errorf("%s: redact left %d of %d open texts", md.FullName(), got, want)
			}
			if again, _ := proto.Marshal(m.Interface()); !bytes.Contains(again, []byte(hidden)) {
				t.Errorf("%s: redact changed the message that it was given", md.FullName())
			}
		}
	}
	for _, f := range packages() {
		walk(f.Messages())
	}
	if types < 85 {
		t.Errorf("walked %d messages only", types)
	}
}

func messageType(t *testing.T, md protoreflect.MessageDescriptor) protoreflect.MessageType {
	t.Helper()
	mt, err := protoTypes().FindMessageByName(md.FullName())
	if err != nil {
		t.Fatalf("%s: %v", md.FullName(), err)
	}
	return mt
}

// unknownField is field 15000 as a length-delimited text.
func unknownField(text string) []byte {
	const tag = 15000<<3 | 2
	return append([]byte{tag&0x7f | 0x80, tag>>7&0x7f | 0x80, tag >> 14, byte(len(text))}, text...)
}
