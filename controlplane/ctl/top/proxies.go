package top

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// silence is how old a report may be before the table says so: three were missed.
const silence = 4 * time.Second

func proxyColumns() []column {
	return []column{
		{title: "proxy", fill: true}, {title: "host", fill: true, drop: 5}, {title: "up", right: true, drop: 6}, {title: "revision", right: true, drop: 7},
		{title: "req/s", right: true}, {title: "failed/s", right: true}, {title: "in flight", right: true, drop: 3},
		{title: "requests", right: true, drop: 8}, {title: "503s", right: true, drop: 1}, {title: "retries", right: true, drop: 4},
		{title: "missed", right: true, drop: 9}, {title: "spilled", right: true, drop: 10}, {title: "panicked", right: true, drop: 11},
		{title: "hedges", right: true, drop: 13}, {title: "throttled", right: true, drop: 12}, {title: "note", fill: true, drop: 2},
	}
}

// proxy is one of the fleet: what it reports, what it is connected as, or both.
type proxy struct {
	id     string
	health *adminv1.ProxyHealth // nil = it does not report
	conn   *adminv1.Proxy       // nil = it is not connected, or nobody knows
}

func (p proxy) revision() int64 {
	if r := p.health.GetRevision(); r != 0 {
		return r
	}
	return p.conn.GetRevision()
}

// proxies joins both lists, by id.
func proxies(v *View) []proxy {
	byID := map[string]*proxy{}
	at := func(id string) *proxy {
		if byID[id] == nil {
			byID[id] = &proxy{id: id}
		}
		return byID[id]
	}
	for _, h := range v.Health.GetProxies() {
		at(h.GetId()).health = h
	}
	for _, c := range v.Status.GetProxies() {
		// While a proxy changes over from one connection to the next there are two: the newer knows.
		if p := at(c.GetId()); p.conn == nil || p.conn.GetConnectTime().AsTime().Before(c.GetConnectTime().AsTime()) {
			p.conn = c
		}
	}
	list := make([]proxy, 0, len(byID))
	for _, p := range byID {
		list = append(list, *p)
	}
	slices.SortFunc(list, func(a, b proxy) int {
		return cmp.Or(strings.Compare(a.host(), b.host()), strings.Compare(a.id, b.id))
	})
	return list
}

func (p proxy) host() string { return cmp.Or(p.health.GetHostname(), p.conn.GetHostname()) }

// behind is how many revisions it lacks; 0 when nobody knows.
func (p proxy) behind(newest int64) int64 {
	if p.revision() == 0 {
		return 0
	}
	return max(0, newest-p.revision())
}

func (p proxy) row(v *View) []string {
	row := []string{clean(p.id), clean(dash(p.host())), "-", revision(p.revision())}
	h := p.health
	if h == nil {
		for range 11 {
			row = append(row, "-")
		}
		return append(row, p.note(v))
	}
	row[2] = age(h.GetUptime().AsDuration())
	return append(row,
		rate(h.GetRequestRate()), rate(h.GetFailureRate()), count(h.GetInFlight()), count(h.GetRequests()), count(h.GetUnavailable()),
		count(h.GetRetries()), fmt.Sprintf("%d/%d", h.GetMissedFound(), h.GetMissedFinal()), count(h.GetSpilled()), count(h.GetPanicked()),
		count(h.GetHedges()), count(h.GetThrottled()), p.note(v))
}

func (p proxy) note(v *View) string {
	var notes []string
	if p.health == nil {
		notes = append(notes, "does not report")
	} else if silent := p.health.GetAge().AsDuration(); silent >= silence {
		notes = append(notes, "silent for "+age(silent))
	}
	if v.Status != nil && p.conn == nil && len(v.Status.GetUnreachableReplicas()) == 0 {
		notes = append(notes, "not connected")
	}
	if n := p.behind(v.Status.GetRevision()); n > 0 {
		notes = append(notes, fmt.Sprintf("%d behind", n))
	}
	if n := len(p.conn.GetRejections()); n > 0 {
		notes = append(notes, fmt.Sprintf("%d rejected", n))
	}
	return strings.Join(notes, ", ")
}

func revision(n int64) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatInt(n, 10)
}
