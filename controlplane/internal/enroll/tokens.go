package enroll

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/pkg/atomicfile"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	"fairway/pkg/trust"
)

// TokenStore keeps join tokens. A is whoever acts, for the audit; this package only passes it on.
type TokenStore[A any] interface {
	CreateJoinToken(ctx context.Context, t *adminv1.JoinToken, actor A) error
	JoinTokens(ctx context.Context) ([]*adminv1.JoinToken, error)
	DeleteJoinToken(ctx context.Context, id string, actor A) error
}

// Tokens makes and lists join tokens. It is safe for concurrent use.
type Tokens[A any] struct {
	authority *Authority
	store     TokenStore[A]
	name      func(A) string
	log       *slog.Logger
}

// NewTokens returns the part of the authority that operators talk to. name says what stands in created_by for an actor.
func NewTokens[A any](a *Authority, store TokenStore[A], name func(A) string, log *slog.Logger) *Tokens[A] {
	return &Tokens[A]{authority: a, store: store, name: name, log: log}
}

// Create makes a token that is good for ttl (0 = 1h) and maxUses (0 = 1) and returns it with its text, which is not
// kept.
func (t *Tokens[A]) Create(
	ctx context.Context, ttl time.Duration, maxUses int32, actor A,
) (stored *adminv1.JoinToken, token string, err error) {
	if ttl <= 0 {
		ttl = time.Hour
	}
	if maxUses <= 0 {
		maxUses = 1
	}
	return t.create(ctx, &adminv1.JoinToken{
		ExpireTime: timestamppb.New(t.authority.now().Add(ttl)),
		MaxUses:    maxUses,
		CreatedBy:  t.name(actor),
	}, actor)
}

func (t *Tokens[A]) create(
	ctx context.Context, record *adminv1.JoinToken, actor A,
) (*adminv1.JoinToken, string, error) {
	now := t.authority.now()
	id, err := ulid.New(ulid.Timestamp(now), rand.Reader)
	if err != nil {
		return nil, "", fmt.Errorf("create join token: %w", err)
	}
	token := trust.NewJoinToken(id.String(), t.authority.cert)
	record.Id = token.ID
	record.CreateTime = timestamppb.New(now)
	record.SecretHash = hashSecret(token)
	if err := t.store.CreateJoinToken(ctx, record, actor); err != nil {
		return nil, "", fmt.Errorf("create join token: %w", err)
	}
	return public(record), token.Encode(), nil
}

// List returns all tokens without what is kept of their secrets.
func (t *Tokens[A]) List(ctx context.Context) ([]*adminv1.JoinToken, error) {
	list, err := t.store.JoinTokens(ctx)
	if err != nil {
		return nil, fmt.Errorf("list join tokens: %w", err)
	}
	shown := make([]*adminv1.JoinToken, 0, len(list))
	for _, record := range list {
		shown = append(shown, public(record))
	}
	return shown, nil
}

// Delete makes a token useless.
func (t *Tokens[A]) Delete(ctx context.Context, id string, actor A) error {
	if err := t.store.DeleteJoinToken(ctx, id, actor); err != nil {
		return fmt.Errorf("delete join token: %w", err)
	}
	return nil
}

// EnsureLocal makes sure that the file at path holds a token with which proxies of this host join at any time: local,
// without expiry and limit. A good one that is there stays. One that is not, that the store does not know, or that
// others than the owner could have read is replaced; what it named in the store is deleted.
func (t *Tokens[A]) EnsureLocal(ctx context.Context, path string, actor A) error {
	old, exposed, err := readToken(path)
	if err != nil {
		return fmt.Errorf("local join token: %w", err)
	}
	if old != nil {
		known, good, err := t.known(ctx, *old)
		switch {
		case err != nil:
			return fmt.Errorf("local join token: %w", err)
		case good && !exposed:
			return nil
		case known:
			t.log.Warn("replacing the local join token", "path", path, "id", old.ID, "readable_by_others", exposed)
			if err := t.store.DeleteJoinToken(ctx, old.ID, actor); err != nil && fault.KindOf(err) != fault.NotFound {
				return fmt.Errorf("local join token: %w", err)
			}
		}
	}
	record, token, err := t.create(ctx, &adminv1.JoinToken{Local: true, CreatedBy: t.name(actor)}, actor)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(path, []byte(token+"\n"), 0o600); err != nil {
		// Nobody has seen the token; do not leave it behind.
		return errors.Join(fmt.Errorf("local join token: %w", err), t.store.DeleteJoinToken(ctx, record.GetId(), actor))
	}
	return nil
}

// known says whether the store has a token with that id, and whether it is this very token and good for local proxies.
func (t *Tokens[A]) known(ctx context.Context, token trust.JoinToken) (known, good bool, err error) {
	list, err := t.store.JoinTokens(ctx)
	if err != nil {
		return false, false, err
	}
	i := slices.IndexFunc(list, func(r *adminv1.JoinToken) bool { return r.GetId() == token.ID })
	if i < 0 || !list[i].GetLocal() {
		return false, false, nil // never delete a token that operators made
	}
	record := list[i]
	good = token.CAFingerprint == trust.Fingerprint(t.authority.cert) &&
		record.GetExpireTime() == nil && record.GetMaxUses() == 0 &&
		subtle.ConstantTimeCompare(record.GetSecretHash(), hashSecret(token)) == 1
	return true, good, nil
}

// readToken reads the token in a file; nil when the file is not there or holds something else. exposed says that others
// than its owner may read it.
func readToken(path string) (token *trust.JoinToken, exposed bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, false, err
	}
	text, err := io.ReadAll(io.LimitReader(f, 1024))
	if err != nil {
		return nil, false, err
	}
	t, err := trust.ParseJoinToken(string(text))
	if err != nil {
		return nil, false, nil // something else is there; it is replaced
	}
	return &t, info.Mode().Perm()&0o077 != 0, nil
}

func public(record *adminv1.JoinToken) *adminv1.JoinToken {
	shown, ok := proto.Clone(record).(*adminv1.JoinToken)
	if !ok {
		return nil // cannot be: a clone has its original's type
	}
	shown.SecretHash = nil
	return shown
}
