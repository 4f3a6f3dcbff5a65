package publish

import (
	"google.golang.org/protobuf/encoding/protowire"

	"fairway/controlplane/internal/build"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// Field numbers of sync.proto that frames are written with by hand; frame_test compares the result with the generated
// code.
const (
	fieldResponseTxn      = 1
	fieldResponseProgress = 2

	fieldTxnLineage  = 1
	fieldTxnBase     = 2
	fieldTxnRevision = 3
	fieldTxnReplaced = 4
	fieldTxnChanges  = 5
	fieldTxnLast     = 6
	fieldTxnDigest   = 7

	fieldChangeKind    = 1
	fieldChangeID      = 2
	fieldChangeVersion = 3
	fieldChangeBody    = 4
	fieldChangeDeleted = 5
)

// ref names a published resource.
type ref struct {
	kind syncv1.Kind
	id   string
}

// resource is a published resource in the form in which it travels. It is immutable.
type resource struct {
	ref
	version int64
	// wire is the whole field "changes" of a Txn, tag and length included. Full states are put together by copying it.
	wire []byte
	body []byte // the part of wire that the digests are made of
	// missing are the references that it was built without.
	missing []build.Ref
}

func newResource(c *syncv1.Change, missing []build.Ref) *resource {
	wire := appendChange(nil, c)
	return &resource{
		ref:     ref{kind: c.GetKind(), id: c.GetId()},
		version: c.GetVersion(),
		wire:    wire,
		body:    wire[len(wire)-len(c.GetBody()):],
		missing: missing,
	}
}

// appendChange appends c as an element of the field "changes". The body comes last, so that it can be found there.
func appendChange(dst []byte, c *syncv1.Change) []byte {
	size := 0
	if c.GetKind() != 0 {
		size += protowire.SizeTag(fieldChangeKind) + protowire.SizeVarint(uint64(c.GetKind()))
	}
	if c.GetId() != "" {
		size += protowire.SizeTag(fieldChangeID) + protowire.SizeBytes(len(c.GetId()))
	}
	if c.GetVersion() != 0 {
		size += protowire.SizeTag(fieldChangeVersion) + protowire.SizeVarint(uint64(c.GetVersion()))
	}
	if c.GetDeleted() {
		size += protowire.SizeTag(fieldChangeDeleted) + 1
	}
	if len(c.GetBody()) > 0 {
		size += protowire.SizeTag(fieldChangeBody) + protowire.SizeBytes(len(c.GetBody()))
	}
	if dst == nil {
		dst = make([]byte, 0, protowire.SizeTag(fieldTxnChanges)+protowire.SizeBytes(size))
	}
	dst = protowire.AppendTag(dst, fieldTxnChanges, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size))
	if c.GetKind() != 0 {
		dst = protowire.AppendTag(dst, fieldChangeKind, protowire.VarintType)
		dst = protowire.AppendVarint(dst, uint64(c.GetKind()))
	}
	if c.GetId() != "" {
		dst = protowire.AppendTag(dst, fieldChangeID, protowire.BytesType)
		dst = protowire.AppendString(dst, c.GetId())
	}
	if c.GetVersion() != 0 {
		dst = protowire.AppendTag(dst, fieldChangeVersion, protowire.VarintType)
		dst = protowire.AppendVarint(dst, uint64(c.GetVersion()))
	}
	if c.GetDeleted() {
		dst = protowire.AppendTag(dst, fieldChangeDeleted, protowire.VarintType)
		dst = protowire.AppendVarint(dst, 1)
	}
	if len(c.GetBody()) > 0 {
		dst = protowire.AppendTag(dst, fieldChangeBody, protowire.BytesType)
		dst = protowire.AppendBytes(dst, c.GetBody())
	}
	return dst
}
