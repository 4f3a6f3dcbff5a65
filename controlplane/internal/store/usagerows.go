package store

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// UsageRow is a counter on the books, or what was corrected of one.
type UsageRow struct {
	UsageKey
	Day        bool // of the whole day that begins with Hour
	Correction bool // then Corrections and signed Counters; else what proxies reported

	Counters    *adminv1.UsageCounters
	Corrections int64 // how many there were

	// Version changes with the row, Created does not while it is there. Both are 0 for a row that is not.
	Version, Created int64
}

// BooksRange is a part of the books. A day that is kept as a whole belongs to it if its first hour does.
type BooksRange struct {
	FromHour, ToHour int64 // half open
	HoursOnly        bool  // without whole days
	Revision         int64 // as the books were then; 0 = now
}

// Books calls fn for every row of a range, all as of one revision, which it returns: hours in order, then whole days,
// each with the corrections before the counters. It stops at fn's first error and returns it. A revision that is not
// kept any more is a fault of kind Invalid.
func (s *Store) Books(ctx context.Context, r BooksRange, fn func(UsageRow) error) (int64, error) {
	from, to := max(r.FromHour, 0), min(r.ToHour, maxHour)
	if r.Revision == 0 {
		var err error
		if r.Revision, err = s.revision(ctx); err != nil {
			return 0, translate(ctx, fmt.Errorf("read usage: %w", err))
		}
	}
	if from >= to {
		return r.Revision, nil
	}
	// A day belongs if its first hour is in the range: both ends are rounded up.
	fromDay, toDay := (from+hoursOfDay-1)/hoursOfDay, (to+hoursOfDay-1)/hoursOfDay
	parts := []struct {
		row      UsageRow
		from, to int64
	}{
		{UsageRow{Correction: true}, from, to},
		{UsageRow{}, from, to},
		{UsageRow{Day: true, Correction: true}, fromDay, toDay},
		{UsageRow{Day: true}, fromDay, toDay},
	}
	if r.HoursOnly {
		parts = parts[:2]
	}
	for _, p := range parts {
		if p.from >= p.to {
			continue
		}
		var stopped error
		prefix := p.row.prefix()
		err := s.scan(ctx, numbered(prefix, p.from), numbered(prefix, p.to), r.Revision, func(kv *kv) error {
			row := p.row
			if stopped = row.read(kv); stopped == nil {
				stopped = fn(row)
			}
			return stopped
		})
		switch {
		case stopped != nil:
			return 0, stopped
		case compacted(err), future(err):
			return 0, fault.New(fault.Invalid, "the books of that moment are not kept any more; ask again from the first page").
				WithParam("page_token").With(err)
		case err != nil:
			return 0, translate(ctx, fmt.Errorf("read usage: %w", err))
		}
	}
	return r.Revision, nil
}

// read fills in what is stored; Day and Correction say what it is.
func (r *UsageRow) read(kv *kv) error {
	unreadable := fault.New(fault.Internal, "a counter of the books cannot be read")
	k, ok := parseCounterKey(r.prefix(), string(kv.GetKey()))
	if !ok {
		return unreadable
	}
	if r.Day {
		k.Hour *= hoursOfDay
	}
	r.UsageKey, r.Version, r.Created = k, kv.GetModRevision(), kv.GetCreateRevision()
	if !r.Correction {
		r.Counters = &adminv1.UsageCounters{}
		if proto.Unmarshal(kv.GetValue(), r.Counters) != nil {
			return unreadable
		}
		return nil
	}
	sum := &adminv1.UsageCorrected{}
	if proto.Unmarshal(kv.GetValue(), sum) != nil {
		return unreadable
	}
	r.Counters, r.Corrections = sum.GetCounters(), sum.GetCorrections()
	if r.Counters == nil {
		r.Counters = &adminv1.UsageCounters{}
	}
	return nil
}

// put is the operation that stores the row.
func (r UsageRow) put() (clientv3.Op, error) {
	key, err := r.key()
	if err != nil {
		return clientv3.Op{}, fault.New(fault.Invalid, "malformed usage key").With(err)
	}
	var m proto.Message = r.Counters
	if r.Correction {
		m = &adminv1.UsageCorrected{Corrections: r.Corrections, Counters: r.Counters}
	}
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return clientv3.Op{}, fmt.Errorf("encode usage: %w", err)
	}
	return clientv3.OpPut(key, string(value)), nil
}
