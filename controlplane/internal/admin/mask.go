package admin

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"fairway/pkg/fault"
)

// maxPaths bounds a field mask; no resource has as many fields.
const maxPaths = 100

// assignment is one field that an update takes over.
type assignment struct {
	path []protoreflect.FieldDescriptor // from the resource down
	// keep: an absent source value leaves the target alone. So it is for secrets under "*", because a resource that was
	// read and sent back carries none.
	keep bool
}

// assignments resolves a mask against a resource's message. Empty and "*" mean every field that may change; a path that
// names a field which may not is refused.
func assignments(md protoreflect.MessageDescriptor, mask *fieldmaskpb.FieldMask) ([]assignment, error) {
	paths := mask.GetPaths()
	if len(paths) > maxPaths {
		return nil, fault.New(fault.Invalid, "update_mask: more than %d paths", maxPaths).WithParam("update_mask")
	}
	if len(paths) == 0 || (len(paths) == 1 && paths[0] == "*") {
		return expand(nil, nil, md, true), nil
	}
	var all []assignment
	for _, p := range paths {
		path, err := resolve(md, p)
		if err != nil {
			return nil, err
		}
		last := path[len(path)-1]
		if !leaf(last) && mixed(last.Message()) {
			all = expand(all, path, last.Message(), false)
		} else {
			all = append(all, assignment{path: path})
		}
	}
	return all, nil
}

// expand adds every field of md below the prefix that may change.
func expand(all []assignment, prefix []protoreflect.FieldDescriptor, md protoreflect.MessageDescriptor, star bool) []assignment {
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		t := traitOf(fd)
		if t != plain && t != inputOnly {
			continue
		}
		path := append(slices.Clone(prefix), fd)
		if !leaf(fd) && mixed(fd.Message()) {
			all = expand(all, path, fd.Message(), star)
			continue
		}
		all = append(all, assignment{path: path, keep: star && t == inputOnly})
	}
	return all
}

// resolve walks one path of a mask.
func resolve(md protoreflect.MessageDescriptor, p string) ([]protoreflect.FieldDescriptor, error) {
	refuse := func(why string) error {
		return fault.New(fault.Invalid, "update_mask: %q %s", p, why).WithParam("update_mask")
	}
	if p == "*" {
		return nil, refuse("stands alone or not at all")
	}
	var path []protoreflect.FieldDescriptor
	for name := range strings.SplitSeq(p, ".") {
		if md == nil {
			return nil, refuse("goes below a field that is one value")
		}
		fd := md.Fields().ByName(protoreflect.Name(name))
		if fd == nil {
			return nil, refuse("is not a field of " + string(md.Name()))
		}
		if t := traitOf(fd); t != plain && t != inputOnly {
			return nil, refuse(t.why())
		}
		path = append(path, fd)
		md = nil
		if !leaf(fd) {
			md = fd.Message()
		}
	}
	return path, nil
}

// assign takes the fields over from src into dst. It shares values with src, which must not be used afterwards.
func assign(dst, src protoreflect.Message, all []assignment) {
	for _, a := range all {
		assignOne(dst, src, a)
	}
}

func assignOne(dst, src protoreflect.Message, a assignment) {
	parents, last := a.path[:len(a.path)-1], a.path[len(a.path)-1]
	for _, fd := range parents {
		src = src.Get(fd).Message() // an absent message reads as an empty one
	}
	present := src.IsValid() && src.Has(last)
	if !present && a.keep {
		return
	}
	for _, fd := range parents {
		if !present && !dst.Has(fd) {
			return // nothing to clear
		}
		dst = dst.Mutable(fd).Message()
	}
	if dst.Descriptor().FullName() == secretMessage {
		// The sealed form and the fingerprint belong to the value that goes. A secret that is set anew keeps them until
		// seal has looked whether anything changed.
		if !present {
			proto.Reset(dst.Interface())
			return
		}
	}
	if present {
		dst.Set(last, src.Get(last))
	} else {
		dst.Clear(last)
	}
}

// changed lists the paths whose values differ, in the order of the fields, for the audit trail. Hidden fields appear as
// the message that holds them.
func changed(before, after protoreflect.Message) []string {
	return appendChanged(nil, "", before, after)
}

func appendChanged(paths []string, prefix string, before, after protoreflect.Message) []string {
	fields := after.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		switch traitOf(fd) {
		case outputOnly, guard:
			continue
		case plain, fixed, atRestOnly, inputOnly:
		}
		name := prefix + string(fd.Name())
		switch {
		case leaf(fd):
			if before.Has(fd) != after.Has(fd) || !before.Get(fd).Equal(after.Get(fd)) {
				paths = append(paths, name)
			}
		case fd.Message().FullName() == secretMessage:
			if !before.Get(fd).Equal(after.Get(fd)) {
				paths = append(paths, name)
			}
		default:
			paths = appendChanged(paths, name+".", before.Get(fd).Message(), after.Get(fd).Message())
		}
	}
	return paths
}
