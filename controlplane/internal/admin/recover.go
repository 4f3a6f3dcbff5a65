package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/operator"
	"fairway/controlplane/internal/store"
	"fairway/pkg/atomicfile"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// ResetOwner gives the operator named FirstOwner a new token, which it writes to the file (mode 0600), and makes it an
// enabled owner again: for who has lost every owner's token and can start the control plane, which is to say, has its data
// anyway. The file is written before the hash is stored, so a start that is killed in between is repeated with another
// token. Call it once the state is loaded and holds the first owner; when it returns, the new token is good and the old one
// is not.
func ResetOwner(ctx context.Context, s Founder, file string, now time.Time) error {
	found, ok := s.State().ByName(model.KindOperator, FirstOwner)
	if !ok {
		return fmt.Errorf("reset owner's token: there is no operator named %q", FirstOwner)
	}
	old, ok := found.(*resourcev1.Operator)
	if !ok {
		return errors.New("reset owner's token: not an operator")
	}
	token := operator.NewToken()
	if err := atomicfile.Write(file, []byte(token.Reveal()+"\n"), 0o600); err != nil {
		return fmt.Errorf("reset owner's token: %w", err)
	}
	owner := proto.CloneOf(old)
	owner.Role, owner.Disabled, owner.TokenHash = resourcev1.Role_ROLE_OWNER, false, operator.HashToken(token)
	owner.Metadata.UpdateTime = timestamppb.New(now)
	revision, err := s.Commit(ctx, store.Write{
		Actor: store.Actor{Operator: "system", Procedure: "reset-owner-token"},
		Puts:  []store.Put{{Resource: owner, Old: old, ChangedFields: []string{"role", "disabled", "token_hash"}}},
	})
	if err != nil {
		return fmt.Errorf("reset owner's token: %w", err)
	}
	return s.WaitRevision(ctx, revision)
}
