package admin

import (
	"crypto/subtle"
	"fmt"
	"net/url"
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

// checkSecrets looks at what only this moment sees: values in the clear. A secret that stays as it is stored is opened,
// because what it is used for may have changed.
func checkSecrets(s Sealer, prefix string, r model.Resource) error {
	refuse := func(field, why string) error {
		return fault.New(fault.Invalid, "%s: %s", prefix+field, why).WithParam(prefix + field)
	}
	if n, ok := r.(*resourcev1.Notifier); ok {
		return checkNotifierSecrets(n, refuse)
	}
	a, ok := r.(*resourcev1.Account)
	if !ok {
		return nil
	}
	if v := a.GetProxySecret().GetValue(); v != "" && !strings.Contains(v, ":") {
		return refuse(".proxy_secret.value", "must be user:password")
	}
	value := a.GetSecret().GetValue()
	if value == "" && a.GetSecret().GetSealed() != nil {
		// One that does not open is under a key that is not there now; it was looked at when it came.
		if plain, err := s.Open(a.GetSecret().GetSealed(), string(model.KindAccount), a.GetMetadata().GetId(), "secret"); err == nil {
			value = string(plain)
		}
	}
	if value == "" {
		return nil
	}
	method := a.GetExchange().GetMethod()
	switch {
	case method == resourcev1.ExchangeMethod_EXCHANGE_METHOD_GOOGLE_SERVICE_ACCOUNT:
		if _, err := model.ParseKeyFile(value); err != nil {
			return refuse(".secret.value", err.Error())
		}
	case model.IsKeyFile(value):
		return refuse(".secret.value", "is JSON; a service account's key file needs the exchange google-service-account")
	}
	return nil
}

// minSignature is how long a webhook's secret is at least: a shorter one is found by trying.
const minSignature = 16

func checkNotifierSecrets(n *resourcev1.Notifier, refuse func(field, why string) error) error {
	if v := n.GetWebhook().GetSecret().GetValue(); v != "" && len(v) < minSignature {
		return refuse(".webhook.secret.value", fmt.Sprintf("has fewer than %d characters", minSignature))
	}
	if v := n.GetSlack().GetUrl().GetValue(); v != "" {
		u, err := url.Parse(v)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.User != nil {
			return refuse(".slack.url.value", "is not a URL of http or https")
		}
	}
	return nil
}

// seal replaces, in r, the value of every Secret by its sealed form and its fingerprint. A value that is the stored one
// already keeps the stored form, so that applying the same file twice changes nothing. r must have its id.
func seal(s Sealer, r model.Resource) error {
	return sealIn(s, r.ProtoReflect(), string(model.KindOf(r)), r.GetMetadata().GetId(), "")
}

// sealIn seals what m holds, at any depth; a secret's place is its path.
func sealIn(s Sealer, m protoreflect.Message, kind, id, prefix string) error {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if leaf(fd) || !m.Has(fd) {
			continue
		}
		sec, ok := m.Get(fd).Message().Interface().(*resourcev1.Secret)
		if !ok {
			if err := sealIn(s, m.Get(fd).Message(), kind, id, prefix+string(fd.Name())+"."); err != nil {
				return err
			}
			continue
		}
		if sec.GetValue() == "" {
			if sec.GetSealed() == nil {
				m.Clear(fd)
			}
			continue
		}
		sealed, err := sealOne(s, sec, kind, id, prefix+string(fd.Name()))
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
