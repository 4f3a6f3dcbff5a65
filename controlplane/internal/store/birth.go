package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/controlplane/internal/model"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// schema is the version of the layout that this code writes.
const schema = 1

var errSchema = errors.New("the data set was written by a newer version of Fairway")

// system is the author of what no operator asked for.
func system(procedure string) Actor { return Actor{Operator: "system", Procedure: procedure} }

// birth returns the lineage of the data set, after creating it together with the initial resources if there is none.
// It looks before it writes: a store that is full answers reads and refuses even a transaction that would write nothing.
func (s *Store) birth(ctx context.Context) (string, error) {
	resp, err := s.client.Txn(ctx).Then(clientv3.OpGet(lineageKey), clientv3.OpGet(schemaKey)).Commit()
	if err != nil {
		return "", fmt.Errorf("read lineage: %w", err)
	}
	if len(resp.Responses[0].GetResponseRange().GetKvs()) > 0 {
		return lineageOf(resp)
	}
	return s.create(ctx)
}

// create makes the data set. The transaction is idempotent: whoever comes first wins, and all return what is stored.
func (s *Store) create(ctx context.Context) (string, error) {
	id, err := s.newID(s.now())
	if err != nil {
		return "", err
	}
	ops := []clientv3.Op{
		clientv3.OpPut(lineageKey, id.String()),
		clientv3.OpPut(schemaKey, strconv.Itoa(schema)),
	}
	for _, r := range model.Initial() {
		more, err := s.birthOps(r)
		if err != nil {
			return "", err
		}
		ops = append(ops, more...)
	}
	resp, err := s.client.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(lineageKey), "=", 0)).
		Then(ops...).
		Else(clientv3.OpGet(lineageKey), clientv3.OpGet(schemaKey)).
		Commit()
	if err != nil {
		return "", fmt.Errorf("create lineage: %w", err)
	}
	if resp.Succeeded {
		return id.String(), nil
	}
	return lineageOf(resp)
}

// lineageOf reads what was asked for lineage and schema, and refuses a schema that is not ours to touch.
func lineageOf(resp *clientv3.TxnResponse) (string, error) {
	stored := resp.Responses[1].GetResponseRange().GetKvs()
	if len(stored) == 0 {
		return "", fmt.Errorf("%w: it names no schema", errSchema)
	}
	if v, err := strconv.Atoi(string(stored[0].GetValue())); err != nil || v > schema {
		return "", fmt.Errorf("%w: schema %q, known up to %d", errSchema, stored[0].GetValue(), schema)
	}
	return string(resp.Responses[0].GetResponseRange().GetKvs()[0].GetValue()), nil
}

// birthOps writes one initial resource with its index and its audit record.
func (s *Store) birthOps(r model.Resource) ([]clientv3.Op, error) {
	now := s.now()
	id, err := s.newID(now)
	if err != nil {
		return nil, err
	}
	k, m := model.KindOf(r), r.GetMetadata()
	m.Id, m.CreateTime, m.UpdateTime = id.String(), timestamppb.New(now), timestamppb.New(now)
	value, err := encode(r)
	if err != nil {
		return nil, err
	}
	auditID, err := s.newID(now)
	if err != nil {
		return nil, err
	}
	audit, err := encodeAudit(auditID, system("birth"), r, m.Name, adminv1.AuditRecord_ACTION_CREATE, nil)
	if err != nil {
		return nil, err
	}
	return []clientv3.Op{
		clientv3.OpPut(resourceKey(k, m.Id), string(value)),
		clientv3.OpPut(nameKey(k, m.Name), m.Id),
		clientv3.OpPut(auditKey(auditID), string(audit)),
	}, nil
}

// RotateLineage gives the data set a new lineage, as after restoring a backup: every replica and proxy then starts over
// instead of taking the restored revisions for those it knows. Run does it by itself when it sees revisions go back.
func (s *Store) RotateLineage(ctx context.Context) (string, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	got, err := s.client.Get(ctx, lineageKey)
	if err != nil {
		return "", translate(ctx, err)
	}
	if len(got.Kvs) == 0 {
		return "", errNoLineage
	}
	return s.rotateFrom(ctx, got.Kvs[0].ModRevision)
}

// rotateFrom replaces the lineage that was written at a revision; if another replica was faster, its choice holds.
func (s *Store) rotateFrom(ctx context.Context, modRevision int64) (string, error) {
	id, err := s.newID(s.now())
	if err != nil {
		return "", err
	}
	resp, err := s.client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(lineageKey), "=", modRevision)).
		Then(clientv3.OpPut(lineageKey, id.String())).
		Else(clientv3.OpGet(lineageKey)).
		Commit()
	if err != nil {
		return "", translate(ctx, err)
	}
	if resp.Succeeded {
		return id.String(), nil
	}
	kvs := resp.Responses[0].GetResponseRange().GetKvs()
	if len(kvs) == 0 {
		return "", errNoLineage
	}
	return string(kvs[0].GetValue()), nil
}
