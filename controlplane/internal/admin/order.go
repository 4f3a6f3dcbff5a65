package admin

import (
	"encoding/binary"
	"math"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
)

// byName is the order of lists that name none.
const byName = "metadata.name"

// maxSortKey is how much of a text counts when resources are ordered; ids settle the rest. It bounds page tokens.
const maxSortKey = 256

// order is how a list is sorted: by a field, then by id, so that it is total.
type order struct {
	text string // normal form: "metadata.name" or "metadata.name desc"
	path []protoreflect.FieldDescriptor
	desc bool
}

// parseOrder reads a field path, optionally followed by " asc" or " desc".
func parseOrder(kind model.Kind, text string) (order, error) {
	refuse := func(why string) error {
		return fault.New(fault.Invalid, "order_by: %q %s", text, why).WithParam("order_by")
	}
	if text == "" {
		text = byName
	}
	name, direction, _ := strings.Cut(text, " ")
	o := order{text: name}
	switch direction {
	case "", "asc":
	case "desc":
		o.desc, o.text = true, name+" desc"
	default:
		return order{}, refuse("ends in neither asc nor desc")
	}
	md := model.Zero(kind).ProtoReflect().Descriptor()
	for part := range strings.SplitSeq(name, ".") {
		if md == nil {
			return order{}, refuse("goes below a field that is one value")
		}
		fd := md.Fields().ByName(protoreflect.Name(part))
		if fd == nil {
			return order{}, refuse("is not a field of " + string(md.Name()))
		}
		if traitOf(fd).hidden() {
			return order{}, refuse("cannot be ordered by")
		}
		o.path = append(o.path, fd)
		md = nil
		if !leaf(fd) {
			md = fd.Message()
		}
	}
	if md != nil || !sortable(o.path[len(o.path)-1]) {
		return order{}, refuse("is not a field that has an order")
	}
	return o, nil
}

func sortable(fd protoreflect.FieldDescriptor) bool {
	if fd.IsList() || fd.IsMap() {
		return false
	}
	switch fd.Kind() {
	case protoreflect.MessageKind:
		return fd.Message().FullName() == "google.protobuf.Timestamp" || fd.Message().FullName() == "google.protobuf.Duration"
	case protoreflect.BytesKind, protoreflect.GroupKind:
		return false
	default:
		return true
	}
}

// key is the sort key of a resource: bytes that compare as the values do. What is absent comes first.
func (o order) key(r model.Resource) string {
	m := r.ProtoReflect()
	last := len(o.path) - 1
	for _, fd := range o.path[:last] {
		m = m.Get(fd).Message()
	}
	fd := o.path[last]
	v := m.Get(fd)
	switch fd.Kind() {
	case protoreflect.StringKind:
		text := v.String()
		return text[:min(len(text), maxSortKey)]
	case protoreflect.BoolKind:
		if v.Bool() {
			return "\x01"
		}
		return "\x00"
	case protoreflect.EnumKind:
		return signed(int64(v.Enum()))
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return float(v.Float())
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return unsigned(v.Uint())
	case protoreflect.MessageKind:
		if !m.Has(fd) {
			return ""
		}
		// Timestamp and Duration alike: seconds = 1, nanos = 2.
		fields := fd.Message().Fields()
		return signed(v.Message().Get(fields.ByNumber(1)).Int()) + signed(v.Message().Get(fields.ByNumber(2)).Int())
	default:
		if fd.HasPresence() && !m.Has(fd) {
			return ""
		}
		return signed(v.Int())
	}
}

func unsigned(v uint64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], v)
	return string(b[:])
}

// signed flips the sign bit, which makes two's complement compare as bytes.
func signed(v int64) string { return unsigned(uint64(v) ^ 1<<63) }

// float flips what makes IEEE 754 compare as bytes.
func float(v float64) string {
	bits := math.Float64bits(v)
	if bits>>63 == 1 {
		return unsigned(^bits)
	}
	return unsigned(bits | 1<<63)
}

// position is where a resource stands in an order.
type position struct {
	key, id string
}

// compare orders positions; negative when a stands before b.
func (o order) compare(a, b position) int {
	c := strings.Compare(a.key, b.key)
	if c == 0 {
		c = strings.Compare(a.id, b.id)
	}
	if o.desc {
		return -c
	}
	return c
}
