package publish

import (
	"iter"

	"google.golang.org/protobuf/encoding/protowire"
)

// maxChunk is how many bytes of changes one Txn carries at most, unless a single resource is bigger. In bytes.
const maxChunk = 512 << 10

// frame is a marshalled SyncResponse. It is written once and shared by all subscribers; nobody changes it.
type frame []byte

// header is what all chunks of one Txn have in common.
type header struct {
	lineage  string
	base     int64
	revision int64
	replaced uint64 // mask of buckets
	digest   uint64 // for the last chunk
}

// chunks yields the frames of a Txn with the given changes (elements of the field "changes", as appendChange writes
// them): always one at least, the last one marked. A frame is made when it is asked for.
func chunks(h header, changes iter.Seq[[]byte]) iter.Seq[frame] {
	return func(yield func(frame) bool) {
		var (
			batch [][]byte
			size  int
		)
		for wire := range changes {
			if size > 0 && size+len(wire) > maxChunk {
				if !yield(h.frame(batch, size, false)) {
					return
				}
				batch, size = batch[:0], 0
			}
			batch = append(batch, wire)
			size += len(wire)
		}
		yield(h.frame(batch, size, true))
	}
}

// frame puts a chunk together; size is that of all changes.
func (h header) frame(changes [][]byte, size int, last bool) frame {
	var fixed [128]byte
	head := h.appendHead(fixed[:0])
	var tail []byte
	if last {
		tail = h.appendTail(make([]byte, 0, 16))
	}
	inner := len(head) + size + len(tail)
	f := make([]byte, 0, protowire.SizeTag(fieldResponseTxn)+protowire.SizeBytes(inner))
	f = protowire.AppendTag(f, fieldResponseTxn, protowire.BytesType)
	f = protowire.AppendVarint(f, uint64(inner))
	f = append(f, head...)
	for _, wire := range changes {
		f = append(f, wire...)
	}
	return append(f, tail...)
}

func (h header) appendHead(dst []byte) []byte {
	if h.lineage != "" {
		dst = protowire.AppendTag(dst, fieldTxnLineage, protowire.BytesType)
		dst = protowire.AppendString(dst, h.lineage)
	}
	if h.base != 0 {
		dst = protowire.AppendTag(dst, fieldTxnBase, protowire.VarintType)
		dst = protowire.AppendVarint(dst, uint64(h.base))
	}
	if h.revision != 0 {
		dst = protowire.AppendTag(dst, fieldTxnRevision, protowire.VarintType)
		dst = protowire.AppendVarint(dst, uint64(h.revision))
	}
	if h.replaced != 0 {
		dst = protowire.AppendTag(dst, fieldTxnReplaced, protowire.Fixed64Type)
		dst = protowire.AppendFixed64(dst, h.replaced)
	}
	return dst
}

func (h header) appendTail(dst []byte) []byte {
	dst = protowire.AppendTag(dst, fieldTxnLast, protowire.VarintType)
	dst = protowire.AppendVarint(dst, 1)
	if h.digest != 0 {
		dst = protowire.AppendTag(dst, fieldTxnDigest, protowire.Fixed64Type)
		dst = protowire.AppendFixed64(dst, h.digest)
	}
	return dst
}

// progressFrame says that the state of revision is the one before it.
func progressFrame(revision int64) frame {
	var inner []byte
	if revision != 0 {
		inner = protowire.AppendTag(inner, 1, protowire.VarintType)
		inner = protowire.AppendVarint(inner, uint64(revision))
	}
	f := protowire.AppendTag(nil, fieldResponseProgress, protowire.BytesType)
	return protowire.AppendBytes(f, inner)
}
