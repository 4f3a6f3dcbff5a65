package admin

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/operator"
	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// owners counts those who can sign in.
func (w *world) owners() (names []string) {
	for r := range w.store.State().All(model.KindOperator) {
		if isOwner(r) {
			names = append(names, r.GetMetadata().GetName())
		}
	}
	return names
}

func TestLastOwnerStays(t *testing.T) {
	w := newWorld(t)
	c := w.as(w.owner)
	w.hire("vera", resourcev1.Role_ROLE_VIEWER)
	_, err := c.operators.UpdateOperator(t.Context(), &adminv1.UpdateOperatorRequest{
		Operator: &resourcev1.Operator{Metadata: named("dora"), Role: resourcev1.Role_ROLE_OWNER, Disabled: true},
	})
	wantCode(t, err, connect.CodeNotFound)
	if _, err := c.operators.CreateOperator(t.Context(), &adminv1.CreateOperatorRequest{
		Operator: &resourcev1.Operator{Metadata: named("dora"), Role: resourcev1.Role_ROLE_OWNER, Disabled: true},
	}); err != nil {
		t.Fatal(err)
	}
	attempts := map[string]func() error{
		"delete": func() error {
			_, err := c.operators.DeleteOperator(t.Context(), &adminv1.DeleteOperatorRequest{Name: FirstOwner})
			return err
		},
		"disable": func() error {
			_, err := c.operators.UpdateOperator(t.Context(), &adminv1.UpdateOperatorRequest{
				Operator: &resourcev1.Operator{Metadata: named(FirstOwner), Disabled: true}, UpdateMask: mask("disabled"),
			})
			return err
		},
		"demote": func() error {
			_, err := c.operators.UpdateOperator(t.Context(), &adminv1.UpdateOperatorRequest{
				Operator: &resourcev1.Operator{Metadata: named(FirstOwner), Role: resourcev1.Role_ROLE_OPERATOR}, UpdateMask: mask("role"),
			})
			return err
		},
	}
	for name, attempt := range attempts {
		t.Run(name, func(t *testing.T) {
			if m := wantCode(t, attempt(), connect.CodeFailedPrecondition); !strings.Contains(m, "last owner") {
				t.Errorf("message %q", m)
			}
			if len(w.owners()) != 1 {
				t.Errorf("owners: %v", w.owners())
			}
		})
	}
	// With another owner each of them works, also on oneself.
	w.hire("olga", resourcev1.Role_ROLE_OWNER)
	if err := attempts["demote"](); err != nil {
		t.Errorf("with another owner: %v", err)
	}
	if err := attempts["delete"](); connect.CodeOf(err) != connect.CodePermissionDenied {
		t.Errorf("after the demotion: %v, want PermissionDenied", err)
	}
}

// Two owners who remove each other at the same moment, in every combination of ways: one of them always stays. Here the
// requests meet in the store's transactions, whatever this replica's copy says.
func TestTwoOwnersRemoveEachOther(t *testing.T) {
	w := newWorld(t)
	ctx := operator.With(t.Context(), operator.Operator{Name: FirstOwner})
	s := operatorService{w.service}
	remove := func(name string, way int) error {
		switch way % 3 {
		case 0:
			_, err := s.DeleteOperator(ctx, &adminv1.DeleteOperatorRequest{Name: name})
			return err
		case 1:
			_, err := s.UpdateOperator(ctx, &adminv1.UpdateOperatorRequest{
				Operator: &resourcev1.Operator{Metadata: named(name), Disabled: true}, UpdateMask: mask("disabled"),
			})
			return err
		default:
			_, err := s.UpdateOperator(ctx, &adminv1.UpdateOperatorRequest{
				Operator: &resourcev1.Operator{Metadata: named(name), Role: resourcev1.Role_ROLE_VIEWER}, UpdateMask: mask("role"),
			})
			return err
		}
	}
	last := FirstOwner
	for round := range 18 {
		rival := fmt.Sprint("rival", round)
		if _, err := s.CreateOperator(ctx, &adminv1.CreateOperatorRequest{
			Operator: &resourcev1.Operator{Metadata: named(rival), Role: resourcev1.Role_ROLE_OWNER},
		}); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		errs := make([]error, 2)
		for i, name := range []string{last, rival} {
			wg.Go(func() { errs[i] = remove(name, round/(1+2*i)) })
		}
		wg.Wait()
		for _, err := range errs {
			if k := fault.KindOf(err); err != nil && k != fault.Stale {
				t.Fatalf("round %d: %v", round, err)
			}
		}
		owners := w.owners()
		if len(owners) != 1 || (errs[0] == nil) == (errs[1] == nil) {
			t.Fatalf("round %d: owners %v, errors %v; want one of two to go", round, owners, errs)
		}
		last = owners[0]
	}
}

// TestWitness looks at the transaction itself: the last owner but one goes only together with a guard on who stays.
func TestWitness(t *testing.T) {
	w := newWorld(t)
	w.hire("olga", resourcev1.Role_ROLE_OWNER)
	state := w.store.State()
	first, _ := state.ByName(model.KindOperator, FirstOwner)
	olga, _ := state.ByName(model.KindOperator, "olga")
	s := operatorService{w.service}
	puts, err := s.keepOwner(t.Context(), first, nil)
	if err != nil || len(puts) != 1 || puts[0].Old.GetMetadata().GetName() != "olga" {
		t.Fatalf("keepOwner = %v, %v; want olga as witness", puts, err)
	}
	// Meanwhile olga goes.
	if _, err := w.store.Commit(t.Context(), store.Write{Deletes: []store.Delete{{Resource: olga}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.Commit(t.Context(), store.Write{Puts: puts, Deletes: []store.Delete{{Resource: first}}}); err == nil {
		t.Fatal("both owners are gone")
	}
	// A viewer goes without a witness.
	viewer := &resourcev1.Operator{Metadata: named("v"), Role: resourcev1.Role_ROLE_VIEWER}
	if puts, err := s.keepOwner(t.Context(), viewer, nil); err != nil || puts != nil {
		t.Errorf("keepOwner of a viewer = %v, %v", puts, err)
	}
}

// What is done to an operator holds for the next call with the token.
func TestOperatorsAreRefusedAtOnce(t *testing.T) {
	w := newWorld(t)
	c := w.as(w.owner)
	token := w.hire("vera", resourcev1.Role_ROLE_VIEWER)
	list := func() connect.Code {
		_, err := w.as(token).keys.ListKeys(t.Context(), &adminv1.ListKeysRequest{})
		if err == nil {
			return 0
		}
		return connect.CodeOf(err)
	}
	set := func(disabled bool) {
		t.Helper()
		if _, err := c.operators.UpdateOperator(t.Context(), &adminv1.UpdateOperatorRequest{
			Operator: &resourcev1.Operator{Metadata: named("vera"), Disabled: disabled}, UpdateMask: mask("disabled"),
		}); err != nil {
			t.Fatal(err)
		}
	}
	if code := list(); code != 0 {
		t.Errorf("before: %v", code)
	}
	set(true)
	if code := list(); code != connect.CodeUnauthenticated {
		t.Errorf("disabled: %v", code)
	}
	set(false)
	if code := list(); code != 0 {
		t.Errorf("enabled again, with the same token: %v", code)
	}
	if _, err := c.operators.DeleteOperator(t.Context(), &adminv1.DeleteOperatorRequest{Name: "vera"}); err != nil {
		t.Fatal(err)
	}
	if code := list(); code != connect.CodeUnauthenticated {
		t.Errorf("deleted: %v", code)
	}
}

// founder is a data set that fails as told.
type founder struct {
	state  *model.State
	commit func(store.Write) error
	writes []store.Write
	waited []int64
}

func (f *founder) State() *model.State { return f.state }

func (f *founder) Commit(_ context.Context, w store.Write) (int64, error) {
	f.writes = append(f.writes, w)
	if f.commit != nil {
		return 0, f.commit(w)
	}
	return 41, nil
}

func (f *founder) WaitRevision(_ context.Context, revision int64) error {
	f.waited = append(f.waited, revision)
	return nil
}

func TestBootstrap(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	exists := func(store.Write) error { return fault.New(fault.Exists, "taken") }
	lost := func(store.Write) error { return fault.New(fault.Deadline, "lost") }
	old := operator.NewToken().Reveal()
	tests := []struct {
		name    string
		founder *founder
		file    string // content before; empty = none
		mode    os.FileMode
		created bool
		fails   bool
		left    bool // a token is in the file afterwards
		commits int
	}{
		{name: "a new data set", founder: &founder{state: model.Empty("l")}, created: true, left: true, commits: 1},
		{name: "not loaded", founder: &founder{}, fails: true},
		{name: "has operators", founder: &founder{state: with(&resourcev1.Operator{Metadata: named("x")})}},
		{name: "another replica was faster", founder: &founder{state: model.Empty("l"), commit: exists}, commits: 1},
		{name: "killed after writing the file", founder: &founder{state: model.Empty("l")}, file: old + "\n", mode: 0o600, created: true, left: true, commits: 1},
		{name: "killed after the commit, before it was seen", founder: &founder{state: model.Empty("l"), commit: exists}, file: old, mode: 0o600, left: true, commits: 1},
		{name: "the answer was lost: the token may count", founder: &founder{state: model.Empty("l"), commit: lost}, fails: true, left: true, commits: 1},
		{name: "the file holds something else", founder: &founder{state: model.Empty("l")}, file: "hello", mode: 0o600, fails: true, left: true},
		{name: "others may read the file", founder: &founder{state: model.Empty("l")}, file: old, mode: 0o640, fails: true, left: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "operator.token")
			if tt.file != "" {
				if err := os.WriteFile(file, []byte(tt.file), tt.mode); err != nil {
					t.Fatal(err)
				}
			}
			created, err := Bootstrap(t.Context(), tt.founder, file, now)
			if created != tt.created || (err != nil) != tt.fails {
				t.Errorf("Bootstrap = %v, %v; want %v, error %v", created, err, tt.created, tt.fails)
			}
			raw, readErr := os.ReadFile(file)
			if (readErr == nil) != tt.left {
				t.Errorf("file afterwards: %v; want one: %v", readErr, tt.left)
			}
			if len(tt.founder.writes) != tt.commits {
				t.Fatalf("%d commits, want %d", len(tt.founder.writes), tt.commits)
			}
			if tt.file != "" && string(raw) != tt.file {
				t.Error("the file was changed")
			}
			if !tt.created {
				return
			}
			if len(tt.founder.waited) != 1 || tt.founder.waited[0] != 41 {
				t.Errorf("waited for %v; the token must be good when Bootstrap returns", tt.founder.waited)
			}
			o, ok := tt.founder.writes[0].Puts[0].Resource.(*resourcev1.Operator)
			if !ok || !isOwner(o) || o.GetMetadata().GetName() != FirstOwner || len(o.GetMetadata().GetId()) != 26 {
				t.Errorf("stored %v", o)
			}
			if string(o.GetTokenHash()) != string(operator.HashToken(tokenOf(t, file))) {
				t.Error("the stored hash is not that of the token in the file")
			}
			info, err := os.Stat(file)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
			}
		})
	}
}
