package controlplane

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/proto"

	"fairway/controlplane/internal/store"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/secret"
)

// Names of the values that belong to the data set as a whole.
const (
	metaDataKey = "dek/active"
	metaPepper  = "pepper"
)

// wrappedKey is a data key as it is stored: wrapped by the key-encryption key, which never comes near etcd.
type wrappedKey struct {
	ID      string `json:"id"`
	KEK     string `json:"kek"`
	Wrapped []byte `json:"wrapped"`
}

// kek finds the key-encryption key: given, or in a file that the first start of a data set creates. sealed says that the
// data set has secrets already: then a file that is missing is missed, not made anew.
func (c Config) kek(sealed bool) (secret.KEK, error) {
	if c.KEK != "" {
		k, err := secret.ParseKEK(c.KEK)
		if err != nil {
			return nil, fmt.Errorf("FAIRWAY_KEK: %w", err)
		}
		return k, nil
	}
	path := c.KEKFile
	if path == "" {
		path = filepath.Join(c.DataDir, "kek")
	}
	if _, err := os.Stat(path); sealed && errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the key-encryption key %s is missing, and the data set's secrets are sealed under it: restore it", path)
	}
	return secret.LoadOrCreateKEK(path)
}

// openKeyring returns the data keys of the data set; the first replica ever makes one.
func openKeyring(ctx context.Context, st *store.Store, kek secret.KEK) (*secret.Keyring, error) {
	raw, ok, err := st.Meta(ctx, metaDataKey)
	if err != nil {
		return nil, err
	}
	if !ok {
		id, key := secret.NewDataKey()
		wrapped, err := kek.Wrap(ctx, key)
		if err != nil {
			return nil, fmt.Errorf("wrap a data key: %w", err)
		}
		mine, err := json.Marshal(wrappedKey{ID: id, KEK: kek.ID(), Wrapped: wrapped})
		if err != nil {
			return nil, fmt.Errorf("encode a data key: %w", err)
		}
		// Another replica may have been faster; its key is the data set's then.
		if raw, err = st.CreateMeta(ctx, metaDataKey, mine); err != nil {
			return nil, err
		}
	}
	var w wrappedKey
	if err := json.Unmarshal(raw, &w); err != nil {
		return nil, fmt.Errorf("decode the data set's data key: %w", err)
	}
	key, err := kek.Unwrap(ctx, w.Wrapped)
	if errors.Is(err, secret.ErrWrongKEK) {
		return nil, fmt.Errorf("this is not the key-encryption key of the data set: it is %s, and its secrets are sealed under %s", kek.ID(), w.KEK)
	}
	if err != nil {
		return nil, fmt.Errorf("unwrap the data set's data key: %w", err)
	}
	return secret.NewKeyring(w.ID, map[string][]byte{w.ID: key})
}

// openPepper returns what keys' MACs are made with; the first replica ever makes it.
func openPepper(ctx context.Context, st *store.Store, ring *secret.Keyring) ([]byte, error) {
	raw, ok, err := st.Meta(ctx, metaPepper)
	if err != nil {
		return nil, err
	}
	if !ok {
		fresh := make([]byte, 32)
		_, _ = rand.Read(fresh) // never fails
		sealed, err := ring.Seal(fresh, "meta", metaPepper, "value")
		if err != nil {
			return nil, fmt.Errorf("seal the pepper: %w", err)
		}
		mine, err := proto.Marshal(sealed)
		if err != nil {
			return nil, fmt.Errorf("encode the pepper: %w", err)
		}
		if raw, err = st.CreateMeta(ctx, metaPepper, mine); err != nil {
			return nil, err
		}
	}
	var sealed resourcev1.SealedValue
	if err := proto.Unmarshal(raw, &sealed); err != nil {
		return nil, fmt.Errorf("decode the pepper: %w", err)
	}
	pepper, err := ring.Open(&sealed, "meta", metaPepper, "value")
	if err != nil {
		return nil, fmt.Errorf("open the pepper: %w", err)
	}
	return pepper, nil
}
