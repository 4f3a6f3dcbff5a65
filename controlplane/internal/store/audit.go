package store

import (
	"context"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// Actor is who makes a change, for the audit record.
type Actor struct {
	Operator  string // the operator's name, or "system"
	Procedure string
	RequestID string
}

// encodeAudit makes the record of a change of r, which people know by name.
func encodeAudit(
	id ulid.ULID, a Actor, r model.Resource, name string, action adminv1.AuditRecord_Action, fields []string,
) ([]byte, error) {
	return marshalAudit(id, &adminv1.AuditRecord{
		Operator:      a.Operator,
		Procedure:     a.Procedure,
		RequestId:     a.RequestID,
		Kind:          string(model.KindOf(r)),
		ResourceId:    r.GetMetadata().GetId(),
		ResourceName:  name,
		Action:        action,
		ChangedFields: fields,
	})
}

func marshalAudit(id ulid.ULID, rec *adminv1.AuditRecord) ([]byte, error) {
	rec.Id = id.String()
	rec.Time = timestamppb.New(ulid.Time(id.Time()))
	b, err := proto.Marshal(rec)
	if err != nil {
		return nil, fmt.Errorf("encode audit record: %w", err)
	}
	return b, nil
}

// AuditQuery selects audit records. Empty filters match everything.
type AuditQuery struct {
	Start, End                   time.Time // [Start, End); zero Start = 7 days before End, zero End = now
	Kind, ResourceName, Operator string
	PageSize                     int    // 0 = 100; at most 1000
	PageToken                    string // from the page before; the other fields must be as then
}

const (
	auditPageDefault = 100
	auditPageMax     = 1000
	auditSpan        = 7 * 24 * time.Hour
	// auditRead bounds one read of etcd, auditScan all records that one query looks at: a filter that matches little
	// gives short, even empty pages with a token.
	auditRead = 500
	auditScan = 20_000
	// auditFirstWindow is the span that the first read covers; see auditWalk.
	auditFirstWindow = time.Hour
)

// Audit returns one page of records, newest first, and the token of the next page; "" after the last.
func (s *Store) Audit(ctx context.Context, q AuditQuery) ([]*adminv1.AuditRecord, string, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if q.End.IsZero() {
		q.End = s.now().Add(time.Millisecond)
	}
	if q.Start.IsZero() {
		q.Start = q.End.Add(-auditSpan)
	}
	size := q.PageSize
	if size <= 0 {
		size = auditPageDefault
	}
	size = min(size, auditPageMax)
	walk := auditWalk{
		read:  s.readAudit,
		start: q.Start,
		end:   auditBound(q.End),
		until: q.End,
		width: auditFirstWindow,
	}
	if q.PageToken != "" {
		id, err := parseAuditToken(q.PageToken)
		if err != nil {
			return nil, "", err
		}
		walk.end, walk.until = auditKey(id), ulid.Time(id.Time()).Add(time.Millisecond)
	}
	var page []*adminv1.AuditRecord
	var last *adminv1.AuditRecord
	for range auditScan {
		rec, err := walk.next(ctx)
		if err != nil {
			return nil, "", translate(ctx, err)
		}
		if rec == nil {
			return page, "", nil
		}
		last = rec
		if !q.matches(rec) {
			continue
		}
		if page = append(page, rec); len(page) == size {
			break
		}
	}
	return page, base64.RawURLEncoding.EncodeToString([]byte(last.GetId())), nil
}

func (q *AuditQuery) matches(rec *adminv1.AuditRecord) bool {
	return (q.Kind == "" || q.Kind == rec.GetKind()) &&
		(q.ResourceName == "" || q.ResourceName == rec.GetResourceName()) &&
		(q.Operator == "" || q.Operator == rec.GetOperator())
}

func parseAuditToken(token string) (ulid.ULID, error) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return ulid.ULID{}, fault.New(fault.Invalid, "malformed page token").WithParam("page_token")
	}
	id, err := ulid.ParseStrict(string(raw))
	if err != nil {
		return ulid.ULID{}, fault.New(fault.Invalid, "malformed page token").WithParam("page_token")
	}
	return id, nil
}

// readAudit returns up to limit records of [from, end) in order of time, and whether there are more.
func (s *Store) readAudit(ctx context.Context, from, end string, limit int) ([]*adminv1.AuditRecord, bool, error) {
	resp, err := s.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(int64(limit)))
	if err != nil {
		return nil, false, fmt.Errorf("read audit records: %w", err)
	}
	records := make([]*adminv1.AuditRecord, 0, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		rec := &adminv1.AuditRecord{}
		if err := proto.Unmarshal(kv.Value, rec); err != nil || rec.GetId() == "" {
			s.log.Error("skipped an audit record that does not decode", "key", string(kv.Key))
			continue
		}
		rec.Revision = kv.ModRevision
		records = append(records, rec)
	}
	return records, resp.More, nil
}

// auditWalk goes back through the records by bounded reads. etcd can read a range backwards only by reading all of it,
// so the walk reads windows of time forwards, the newest window first. A window that holds more than one read returns
// is halved; after one that holds little the next is twice as wide.
type auditWalk struct {
	read  func(ctx context.Context, from, end string, limit int) ([]*adminv1.AuditRecord, bool, error)
	start time.Time
	end   string    // first key that is too new
	until time.Time // not before the time of end
	width time.Duration
	ready []*adminv1.AuditRecord // read, oldest first
}

// next returns the newest record that was not returned yet; nil when there is none left.
func (w *auditWalk) next(ctx context.Context) (*adminv1.AuditRecord, error) {
	for len(w.ready) == 0 {
		if !w.until.After(w.start) {
			return nil, nil
		}
		if err := w.fill(ctx); err != nil {
			return nil, err
		}
	}
	rec := w.ready[len(w.ready)-1]
	w.ready = w.ready[:len(w.ready)-1]
	return rec, nil
}

func (w *auditWalk) fill(ctx context.Context) error {
	from := w.until.Add(-w.width).Truncate(time.Millisecond)
	if from.Before(w.start) {
		from = w.start
	}
	lower := auditBound(from)
	records, more, err := w.read(ctx, lower, w.end, auditRead)
	if err != nil {
		return err
	}
	if more && w.width > time.Millisecond {
		w.width = max(min(w.width, w.until.Sub(from))/2, time.Millisecond)
		return nil
	}
	for more { // More records in one millisecond than a read returns: page through them.
		var rest []*adminv1.AuditRecord
		id, err := ulid.ParseStrict(records[len(records)-1].GetId())
		if err != nil {
			return fmt.Errorf("audit record's id: %w", err)
		}
		if rest, more, err = w.read(ctx, auditKey(id)+"\x00", w.end, auditRead); err != nil {
			return err
		}
		if len(rest) == 0 {
			break
		}
		records = append(records, rest...)
	}
	if len(records) < auditRead/4 {
		w.width *= 2
	}
	w.ready, w.end, w.until = records, lower, from
	return nil
}
