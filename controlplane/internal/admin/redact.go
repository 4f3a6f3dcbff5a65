package admin

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// redact returns a copy of m without the fields that are at rest only or input only, at any depth. Every reply passes
// through it on its way out, whichever handler made it; m itself may be shared and is not changed.
func redact(m proto.Message) proto.Message {
	c := proto.Clone(m)
	strip(c.ProtoReflect(), trait.hidden)
	return c
}

// strip clears, at any depth, the fields whose trait is unwanted, and what this version does not know: an unknown field
// may be the hidden field of a newer one.
func strip(m protoreflect.Message, unwanted func(trait) bool) {
	if len(m.GetUnknown()) > 0 {
		m.SetUnknown(nil)
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if unwanted(traitOf(fd)) {
			m.Clear(fd)
			return true
		}
		switch {
		case fd.IsMap():
			if fd.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
					strip(v.Message(), unwanted)
					return true
				})
			}
		case fd.Message() == nil:
		case fd.IsList():
			for i := range v.List().Len() {
				strip(v.List().Get(i).Message(), unwanted)
			}
		default:
			strip(v.Message(), unwanted)
		}
		return true
	})
}

// received clears what a request cannot set: what is at rest or output only. Sent back as it was shown, a resource is
// therefore a valid request.
func received(m proto.Message) {
	strip(m.ProtoReflect(), func(t trait) bool { return t == atRestOnly || t == outputOnly })
}
