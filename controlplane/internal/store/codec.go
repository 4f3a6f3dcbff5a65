package store

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"fairway/controlplane/internal/model"
)

// encode is the stored form of a resource: deterministic protobuf without the etag, which is the key's own revision.
func encode(r model.Resource) ([]byte, error) {
	bare, ok := proto.Clone(r).(model.Resource)
	if !ok {
		return nil, fmt.Errorf("encode: %T is not a resource", r)
	}
	bare.GetMetadata().Etag = ""
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(bare)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", model.KindOf(r), err)
	}
	return b, nil
}

// decode reads a stored resource and stamps its version. Errors never carry the bytes.
func decode(k model.Kind, id string, value []byte, version int64) (model.Resource, error) {
	r := model.Zero(k)
	if r == nil {
		return nil, fmt.Errorf("decode: unknown kind %q", k)
	}
	if err := proto.Unmarshal(value, r); err != nil {
		return nil, errors.New("decode: malformed protobuf")
	}
	switch m := r.GetMetadata(); {
	case m.GetId() != id:
		return nil, errors.New("decode: the id inside is not that of the key")
	case m.GetName() == "":
		return nil, errors.New("decode: no name")
	}
	model.SetVersion(r, version)
	return r, nil
}
