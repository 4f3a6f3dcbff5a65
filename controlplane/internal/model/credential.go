package model

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"time"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// CredentialSource is a hash of all that an account's exchange depends on. Accounts that share it would get the same
// credential, so one that was exchanged from another source is not the account's any more.
func CredentialSource(a *resourcev1.Account) []byte {
	x, sealed := a.GetExchange(), a.GetSecret().GetSealed()
	h := sha256.New()
	for _, part := range [][]byte{
		binary.BigEndian.AppendUint32(nil, uint32(x.GetMethod())),
		[]byte(x.GetTokenUrl()), []byte(x.GetTenantId()), []byte(x.GetClientId()), []byte(x.GetRole()), []byte(x.GetScope()),
		[]byte(a.GetAccessKeyId()), []byte(sealed.GetKeyId()), sealed.GetNonce(), sealed.GetCiphertext(),
	} {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part))))
		h.Write(part)
	}
	return h.Sum(nil)
}

// CredentialOf returns what an account's exchange gave; nil when it was not exchanged yet, or from something else.
func CredentialOf(s *State, a *resourcev1.Account) *resourcev1.Credential {
	if a.GetExchange() == nil {
		return nil
	}
	r, ok := s.Get(KindCredential, a.GetMetadata().GetId())
	if !ok {
		return nil
	}
	c, ok := r.(*resourcev1.Credential)
	if !ok || !bytes.Equal(c.GetSource(), CredentialSource(a)) {
		return nil
	}
	return c
}

// Lapsed says whether a credential has ended.
func Lapsed(c *resourcev1.Credential, now time.Time) bool {
	return !now.Before(c.GetExpireTime().AsTime())
}
