package store

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// usageKind is what audit records call the books.
const usageKind = "usage"

// UsageFix is a correction of the books that was made for Base, as it was read.
type UsageFix struct {
	Actor  Actor
	Record *adminv1.UsageCorrection // with its id; time and operator are filled in
	// KeyName is how the audit record calls it.
	KeyName string
	Fields  []string // of the counters, for the audit record

	Base UsageRow // what is corrected; it may grow meanwhile, but not go or come
	Sum  UsageRow // the corrections of it, this one included, with the Version of what it replaces
}

// CorrectUsage stores a correction: the new sum, the correction itself and its audit record, in one transaction. It
// returns the correction as it is stored; when the very same one is stored already, that is no error and counts once.
//
// Errors: Exists for another correction with this id in this hour, Stale when the books have changed since they were
// read. It is not the leader's work, so there is no fence: what proxies report is not touched.
func (s *Store) CorrectUsage(ctx context.Context, fix UsageFix) (*adminv1.UsageCorrection, error) {
	rec, ok := proto.Clone(fix.Record).(*adminv1.UsageCorrection)
	if !ok || !validSegment(rec.GetId()) {
		return nil, fault.New(fault.Invalid, "malformed correction id").WithParam("id")
	}
	now := s.now()
	rec.Time, rec.Operator = timestamppb.New(now), fix.Actor.Operator
	base, err := fix.Base.key()
	if err != nil {
		return nil, fault.New(fault.Invalid, "malformed usage key").With(err)
	}
	put, err := fix.Sum.put()
	if err != nil {
		return nil, err
	}
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(rec)
	if err != nil {
		return nil, fmt.Errorf("encode correction: %w", err)
	}
	auditID, err := s.newID(now)
	if err != nil {
		return nil, err
	}
	audit, err := marshalAudit(auditID, &adminv1.AuditRecord{
		Operator: fix.Actor.Operator, Procedure: fix.Actor.Procedure, RequestId: fix.Actor.RequestID,
		Kind: usageKind, ResourceId: rec.GetId(), ResourceName: fix.KeyName,
		Action: adminv1.AuditRecord_ACTION_UPDATE, ChangedFields: fix.Fields,
	})
	if err != nil {
		return nil, err
	}
	journal := numbered(journalPrefix, rec.GetHour().GetSeconds()/3600) + rec.GetId()
	cmps := []clientv3.Cmp{
		clientv3.Compare(clientv3.CreateRevision(journal), "=", 0),
		clientv3.Compare(clientv3.CreateRevision(base), "=", fix.Base.Created),
		clientv3.Compare(clientv3.ModRevision(string(put.KeyBytes())), "=", fix.Sum.Version),
	}
	ops := []clientv3.Op{put, clientv3.OpPut(journal, string(value)), clientv3.OpPut(auditKey(auditID), string(audit))}
	ctx, cancel := bounded(ctx)
	defer cancel()
	var verdict error
	err = s.retry(ctx, func(ctx context.Context) error {
		verdict = nil
		resp, err := s.client.Txn(ctx).If(cmps...).Then(ops...).Else(clientv3.OpGet(journal)).Commit()
		if err != nil || resp.Succeeded {
			return err
		}
		rec, verdict = stored(resp.Responses[0].GetResponseRange().GetKvs(), rec)
		return nil
	})
	if err != nil {
		return nil, translate(ctx, fmt.Errorf("correct usage: %w", err))
	}
	if verdict != nil {
		return nil, verdict
	}
	return rec, nil
}

// stored is the correction that is there under the id of what was to be written, if it is that.
func stored(kvs []*kv, wanted *adminv1.UsageCorrection) (*adminv1.UsageCorrection, error) {
	if len(kvs) == 0 {
		return wanted, fault.New(fault.Stale, "the books have changed meanwhile")
	}
	there := &adminv1.UsageCorrection{}
	if proto.Unmarshal(kvs[0].GetValue(), there) != nil {
		return wanted, fault.New(fault.Internal, "a correction cannot be read")
	}
	if !SameCorrection(there, wanted) {
		return wanted, fault.New(fault.Exists, "there is another correction %q", wanted.GetId()).WithParam("id")
	}
	return there, nil
}

// SameCorrection says whether two corrections are one that was asked for twice: when, by whom and why do not count.
func SameCorrection(a, b *adminv1.UsageCorrection) bool {
	bare := func(c *adminv1.UsageCorrection) proto.Message {
		return &adminv1.UsageCorrection{
			Id: c.GetId(), Hour: c.GetHour(), Key: c.GetKey(), Group: c.GetGroup(), Channel: c.GetChannel(),
			Account: c.GetAccount(), Model: c.GetModel(), Delta: c.GetDelta(),
		}
	}
	return proto.Equal(bare(a), bare(b))
}

// UsageCorrection returns the correction of an hour with this id; nil when there is none.
func (s *Store) UsageCorrection(ctx context.Context, hour int64, id string) (*adminv1.UsageCorrection, error) {
	if !validSegment(id) || hour < 0 || hour > maxHour {
		return nil, nil
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	got, err := s.client.Get(ctx, numbered(journalPrefix, hour)+id)
	if err != nil {
		return nil, translate(ctx, fmt.Errorf("read correction: %w", err))
	}
	if len(got.Kvs) == 0 {
		return nil, nil
	}
	rec := &adminv1.UsageCorrection{}
	if proto.Unmarshal(got.Kvs[0].Value, rec) != nil {
		return nil, fault.New(fault.Internal, "a correction cannot be read")
	}
	return rec, nil
}

// UsageCorrections returns one page of the corrections of the hours [fromHour, toHour), by hour and id, and the token of
// the next page; "" after the last.
func (s *Store) UsageCorrections(
	ctx context.Context, fromHour, toHour int64, size int, token string,
) ([]*adminv1.UsageCorrection, string, error) {
	fromHour, toHour = min(max(fromHour, 0), maxHour), min(max(toHour, 0), maxHour)
	from, end := numbered(journalPrefix, fromHour), numbered(journalPrefix, toHour)
	if token != "" {
		last, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil || len(last) > 128 {
			return nil, "", fault.New(fault.Invalid, "malformed page token").WithParam("page_token")
		}
		if after := journalPrefix + string(last) + "\x00"; after > from {
			from = after
		}
	}
	if from >= end {
		return nil, "", nil
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	got, err := s.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(int64(size)))
	if err != nil {
		return nil, "", translate(ctx, fmt.Errorf("read corrections: %w", err))
	}
	page := make([]*adminv1.UsageCorrection, 0, len(got.Kvs))
	for _, kv := range got.Kvs {
		rec := &adminv1.UsageCorrection{}
		if proto.Unmarshal(kv.Value, rec) != nil {
			return nil, "", fault.New(fault.Internal, "a correction cannot be read")
		}
		page = append(page, rec)
	}
	next := ""
	if got.More && len(got.Kvs) > 0 {
		last := strings.TrimPrefix(string(got.Kvs[len(got.Kvs)-1].Key), journalPrefix)
		next = base64.RawURLEncoding.EncodeToString([]byte(last))
	}
	return page, next, nil
}
