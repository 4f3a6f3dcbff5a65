package admin

import (
	"crypto/subtle"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/secret"
)

// Sealer encrypts a value for one place and opens it there again. *secret.Keyring does.
type Sealer interface {
	Seal(plain []byte, kind, id, field string) (*resourcev1.SealedValue, error)
	Open(v *resourcev1.SealedValue, kind, id, field string) ([]byte, error)
}

// checkSecrets looks at what only this moment sees: values in the clear.
func checkSecrets(prefix string, r model.Resource) error {
	a, ok := r.(*resourcev1.Account)
	if !ok {
		return nil
	}
	if v := a.GetProxySecret().GetValue(); v != "" && !strings.Contains(v, ":") {
		field := prefix + ".proxy_secret.value"
		return fault.New(fault.Invalid, "%s: must be user:password", field).WithParam(field)
	}
	return nil
}

// seal replaces, in r, the value of every Secret by its sealed form and its fingerprint. A value that is the stored one
// already keeps the stored form, so that applying the same file twice changes nothing. r must have its id.
func seal(s Sealer, r model.Resource) error {
	m := r.ProtoReflect()
	kind, id := string(model.KindOf(r)), r.GetMetadata().GetId()
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if leaf(fd) || fd.Message().FullName() != secretMessage || !m.Has(fd) {
			continue
		}
		sec, ok := m.Get(fd).Message().Interface().(*resourcev1.Secret)
		if !ok {
			continue
		}
		if sec.GetValue() == "" {
			if sec.GetSealed() == nil {
				m.Clear(fd)
			}
			continue
		}
		sealed, err := sealOne(s, sec, kind, id, string(fd.Name()))
		if err != nil {
			return err
		}
		m.Set(fd, protoreflect.ValueOfMessage(sealed.ProtoReflect()))
	}
	return nil
}

func sealOne(s Sealer, sec *resourcev1.Secret, kind, id, field string) (*resourcev1.Secret, error) {
	value := []byte(sec.GetValue())
	if sec.GetSealed() != nil {
		if old, err := s.Open(sec.GetSealed(), kind, id, field); err == nil && subtle.ConstantTimeCompare(old, value) == 1 {
			kept := &resourcev1.Secret{Fingerprint: sec.GetFingerprint()}
			kept.Sealed, _ = proto.Clone(sec.GetSealed()).(*resourcev1.SealedValue)
			return kept, nil
		}
	}
	v, err := s.Seal(value, kind, id, field)
	if err != nil {
		// The cause names the key and the place, not the value.
		return nil, fault.New(fault.Internal, "the secret could not be sealed").With(err)
	}
	return &resourcev1.Secret{Sealed: v, Fingerprint: secret.Fingerprint(sec.GetValue())}, nil
}
