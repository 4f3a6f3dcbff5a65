package admin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/operator"
	"fairway/controlplane/internal/store"
	"fairway/pkg/atomicfile"
	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/secret"
)

// FirstOwner is the name of the operator that a new data set gets.
const FirstOwner = "owner"

// Founder is the part of *store.Store that Bootstrap needs.
type Founder interface {
	State() *model.State
	Commit(ctx context.Context, w store.Write) (revision int64, err error)
	WaitRevision(ctx context.Context, revision int64) error
}

// Bootstrap gives a data set without operators its first owner, whose token it writes to the file (mode 0600), and says
// whether it did. Call it once the state is loaded.
//
// The file is written before the owner is stored: killed in between, the next start finds the token and goes on with
// it, so a data set never ends up with an owner whose token nobody has. Of several replicas that start at once one wins,
// and only that one keeps a file. When it returns, the token is good.
func Bootstrap(ctx context.Context, s Founder, file string, now time.Time) (bool, error) {
	st := s.State()
	switch {
	case st == nil:
		return false, errors.New("create first owner: the state is not loaded yet")
	case st.Len(model.KindOperator) > 0:
		return false, nil
	}
	token, fresh, err := loadOrWriteToken(file)
	if err != nil {
		return false, fmt.Errorf("create first owner: %w", err)
	}
	id, err := ulid.New(ulid.Timestamp(now), rand.Reader)
	if err != nil {
		return false, fmt.Errorf("create first owner: %w", err)
	}
	owner := &resourcev1.Operator{
		Metadata: &resourcev1.Metadata{
			Id: id.String(), Name: FirstOwner, CreateTime: timestamppb.New(now), UpdateTime: timestamppb.New(now),
		},
		Role:      resourcev1.Role_ROLE_OWNER,
		TokenHash: operator.HashToken(token),
	}
	revision, err := s.Commit(ctx, store.Write{
		Actor: store.Actor{Operator: "system", Procedure: "bootstrap"},
		Puts:  []store.Put{{Resource: owner}},
	})
	switch {
	case err == nil:
		// Whoever reads the file now is let in.
		return true, s.WaitRevision(ctx, revision)
	case fault.KindOf(err) != fault.Exists:
		return false, fmt.Errorf("create first owner: %w", err)
	case fresh:
		// Another replica was faster: this token is nobody's.
		if err := os.Remove(file); err != nil {
			return false, fmt.Errorf("remove unused token: %w", err)
		}
	}
	return false, nil
}

// loadOrWriteToken returns the token that an earlier start left behind, or a fresh one after writing it.
func loadOrWriteToken(file string) (token secret.String, fresh bool, err error) {
	raw, err := os.ReadFile(file)
	if err == nil {
		text := strings.TrimSpace(string(raw))
		if !operator.ValidToken(text) {
			return secret.String{}, false, fmt.Errorf("%s does not hold an operator token", file)
		}
		info, err := os.Stat(file)
		if err != nil {
			return secret.String{}, false, fmt.Errorf("read token: %w", err)
		}
		if perm := info.Mode().Perm(); perm&0o077 != 0 {
			return secret.String{}, false, fmt.Errorf("%s has mode %04o, which lets others in; make it 0600", file, perm)
		}
		return secret.New(text), false, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return secret.String{}, false, fmt.Errorf("read token: %w", err)
	}
	token = operator.NewToken()
	if err := atomicfile.Write(file, []byte(token.Reveal()+"\n"), 0o600); err != nil {
		return secret.String{}, false, fmt.Errorf("write token: %w", err)
	}
	return token, true, nil
}
