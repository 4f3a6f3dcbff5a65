package admin

import (
	"google.golang.org/protobuf/reflect/protoreflect"
)

// trait says what a field is to the admin API beyond being data.
type trait uint8

const (
	plain      trait = iota
	atRestOnly       // stored, never shown, never taken from a request
	inputOnly        // taken from a request, never stored, never shown
	outputOnly       // shown, never taken from a request
	fixed            // taken at creation, never changed
	guard            // metadata.etag: a condition of a write, not something that it changes
)

// traitOf is the one table of fields that are not plain data. A test holds it against the comments in the .proto files.
func traitOf(fd protoreflect.FieldDescriptor) trait {
	switch fd.FullName() {
	case "fairway.resource.v1.Key.mac",
		"fairway.resource.v1.Operator.token_hash",
		"fairway.resource.v1.Secret.sealed",
		"fairway.resource.v1.Credential.secret",
		"fairway.resource.v1.Credential.session_token",
		"fairway.resource.v1.Credential.refresh_token",
		"fairway.admin.v1.JoinToken.secret_hash":
		return atRestOnly
	case "fairway.resource.v1.Secret.value":
		return inputOnly
	case "fairway.resource.v1.Metadata.id",
		"fairway.resource.v1.Metadata.create_time",
		"fairway.resource.v1.Metadata.update_time",
		"fairway.resource.v1.Secret.fingerprint",
		"fairway.resource.v1.Account.health",
		"fairway.admin.v1.AuditRecord.revision":
		return outputOnly
	case "fairway.resource.v1.Metadata.name",
		"fairway.resource.v1.Account.channel":
		return fixed
	case "fairway.resource.v1.Metadata.etag":
		return guard
	default:
		return plain
	}
}

// hidden says that a field's value leaves this process in no reply.
func (t trait) hidden() bool { return t == atRestOnly || t == inputOnly }

// why completes "…: the field".
func (t trait) why() string {
	switch t {
	case atRestOnly, outputOnly:
		return "is output only"
	case fixed:
		return "is fixed at creation"
	case guard:
		return "guards the update and cannot be changed by it"
	default:
		return "cannot be changed"
	}
}

// mixed says that a message has fields of more than the plain kind, at any depth, so that it is never taken over as a
// whole.
func mixed(md protoreflect.MessageDescriptor) bool {
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		if traitOf(fd) != plain || !leaf(fd) && mixed(fd.Message()) {
			return true
		}
	}
	return false
}

// secretMessage is the message whose value goes in and never comes out.
const secretMessage protoreflect.FullName = "fairway.resource.v1.Secret"

// leaf says that paths end at this field: it is a scalar, a list, a map, or a message that stands for one value.
func leaf(fd protoreflect.FieldDescriptor) bool {
	if fd.IsList() || fd.IsMap() || fd.Message() == nil {
		return true
	}
	return fd.Message().ParentFile().Package() == "google.protobuf"
}
