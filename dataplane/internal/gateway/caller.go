package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"

	"fairway/dataplane/internal/snapshot"
	"fairway/pkg/fault"
)

// findCaller is the walk's authentication. A key that is well-formed but unknown may have been made a moment ago, so it
// gets the bounded catch-up: keys without the right checksum never come so far, and the Holder bounds how many different
// causes may wait and remembers what was awaited in vain.
func (x *exchange) findCaller(bearer []byte) *fault.Error {
	if x.in.Count("authorization") > 1 {
		// Whoever stands before or behind us might go by the other one.
		return fault.New(fault.Unauthenticated, "more than one Authorization header").WithCode("invalid_api_key")
	}
	ip := x.in.RemoteIP()
	nowMS := x.start.UnixMilli()
	key, f := x.g.auth.Caller(x.snap, bearer, ip, nowMS)
	if f != nil && x.g.auth.Unknown(f) {
		sum := sha256.Sum256(bearer)
		x.catchUp("key/"+string(sum[:]), func(s *snapshot.Snapshot) bool {
			_, again := x.g.auth.Caller(s, bearer, ip, nowMS)
			return again == nil || !x.g.auth.Unknown(again)
		})
		key, f = x.g.auth.Caller(x.snap, bearer, ip, nowMS)
	}
	if f != nil {
		return f
	}
	x.key = key
	group, ok := x.snap.Group(key.GroupID)
	if !ok {
		x.catchUp("group/"+string(key.GroupID), func(s *snapshot.Snapshot) bool {
			_, ok := s.Group(key.GroupID)
			return ok
		})
		if group, ok = x.snap.Group(key.GroupID); !ok {
			return fault.New(fault.Unavailable, "the group of the API key is not known to this proxy").
				WithCode("group_not_found")
		}
	}
	x.group = group
	return nil
}

// catchUp waits, briefly, for a snapshot that has what the pinned one lacks, and pins what is current then.
func (x *exchange) catchUp(cause string, found func(*snapshot.Snapshot) bool) {
	s, ok := x.g.snapshots.Miss(context.Background(), x.snap, cause, found)
	x.snap, x.now = s, x.g.now()
	if ok {
		x.g.meters.missFound.Inc()
	} else {
		x.g.meters.missFinal.Inc()
	}
}

// credential takes the credential out of an Authorization header; empty when there is none.
func credential(value []byte) []byte {
	const scheme = "bearer "
	if len(value) <= len(scheme) || !bytes.EqualFold(value[:len(scheme)], []byte(scheme)) {
		return nil
	}
	return bytes.Trim(value[len(scheme):], " ")
}
