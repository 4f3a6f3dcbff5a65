package store

import (
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"fairway/controlplane/internal/model"
)

// The layout of a data set. Everything lies under one prefix, so that an etcd role needs one range:
//
//	meta/<name>                             lineage, schema, ca, dek/…
//	r/<kind>/<id>                           a resource, protobuf
//	idx/name/<kind>/<name>                  the id that has the name; not of verdicts, which are named by their id
//	idx/ref/<kind>/<id>/<fromkind>/<fromid> somebody refers to <kind>/<id>; empty value
//	audit/<yyyy-mm-dd>/<ulid>               an audit record, protobuf
//	leader/<role>                           who leads; leased
//	cp/<replica>                            a control-plane replica; leased
//	join/<id>                               a join token
//	usage/h/<hour>/<place>                  counters of one hour, see usagekeys.go
//	usage/d/<day>/<place>                   counters of one day whose hours were thinned out
//	usage/c/h/<hour>/<place>, usage/c/d/<day>/<place>  what operators have corrected of them, summed up
//	usage/j/<hour>/<id>                     a single correction
//	usage/w/<boot id>                       how far a proxy's usage is on the books
//	notice/<notifier>/<event>               what the leader has to tell a notifier, or has told it
//	balance/<scope>/<id>                    what a key, group or tenant has spent of its budgets
//	lent                                    shares of limits may be out
//
// The watch covers meta/ and r/ alone, which are neighbours: books, audit and leases churn past it unseen.
const (
	root           = "/fairway/v1/"
	metaPrefix     = root + "meta/"
	resourcePrefix = root + "r/"
	namePrefix     = root + "idx/name/"
	refPrefix      = root + "idx/ref/"
	auditPrefix    = root + "audit/"
	leaderPrefix   = root + "leader/"
	replicaPrefix  = root + "cp/"
	joinPrefix     = root + "join/"
	hourPrefix     = root + "usage/h/"
	dayPrefix      = root + "usage/d/"
	fixHourPrefix  = root + "usage/c/h/"
	fixDayPrefix   = root + "usage/c/d/"
	journalPrefix  = root + "usage/j/"
	markPrefix     = root + "usage/w/"
	noticePrefix   = root + "notice/"
	balancePrefix  = root + "balance/"

	lentKey = root + "lent"

	lineageKey = metaPrefix + "lineage"
	schemaKey  = metaPrefix + "schema"

	watchStart = metaPrefix
	watchEnd   = root + "r0" // the first key after r/…
)

const dayFormat = "2006-01-02"

func resourceKey(k model.Kind, id string) string { return resourcePrefix + string(k) + "/" + id }

func nameKey(k model.Kind, name string) string { return namePrefix + string(k) + "/" + name }

// refRange is the prefix of all references to a resource.
func refRange(k model.Kind, id string) string { return refPrefix + string(k) + "/" + id + "/" }

func refKey(to model.Kind, toID string, from model.Kind, fromID string) string {
	return refRange(to, toID) + string(from) + "/" + fromID
}

// parseResourceKey splits r/<kind>/<id>; ok is false for anything else, unknown kinds included.
func parseResourceKey(key string) (k model.Kind, id string, ok bool) {
	rest, ok := strings.CutPrefix(key, resourcePrefix)
	if !ok {
		return "", "", false
	}
	kind, id, ok := strings.Cut(rest, "/")
	k = model.Kind(kind)
	if !ok || !k.Valid() || id == "" || strings.Contains(id, "/") {
		return "", "", false
	}
	return k, id, true
}

// parseRefKey returns who refers.
func parseRefKey(key string) (from model.Kind, fromID string, ok bool) {
	parts := strings.Split(strings.TrimPrefix(key, refPrefix), "/")
	if !strings.HasPrefix(key, refPrefix) || len(parts) != 4 {
		return "", "", false
	}
	return model.Kind(parts[2]), parts[3], true
}

// auditKey orders records by time: the day and the ULID both come from it.
func auditKey(id ulid.ULID) string {
	return auditPrefix + ulid.Time(id.Time()).UTC().Format(dayFormat) + "/" + id.String()
}

// auditBound is the smallest audit key of a moment.
func auditBound(t time.Time) string {
	var id ulid.ULID
	if t.After(time.UnixMilli(0)) {
		// A time beyond ULID's last one, in the year 10889, leaves the bound at the last one.
		_ = id.SetTime(min(ulid.Timestamp(t), ulid.MaxTime()))
	}
	return auditKey(id)
}

// validSegment reports whether s can stand as one segment of a key: visible ASCII without a slash.
func validSegment(s string) bool {
	if s == "" || len(s) > 256 {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || s[i] == '/' {
			return false
		}
	}
	return true
}

// prefixEnd returns the first key after all that start with prefix.
func prefixEnd(prefix string) string {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return string(b[:i+1])
		}
	}
	return "\x00"
}
