package snapshot

import (
	"slices"
	"sync/atomic"

	"fairway/pkg/clientkey"
)

// Snapshot is one compiled revision. It is immutable and safe for concurrent use; no lookup takes a lock, and none
// allocates except the first one of a pool or a list of models after a change.
type Snapshot struct {
	lineage  string
	revision int64
	settings Settings
	hasher   *clientkey.Hasher
	prices   settingsPrices

	keys    keyTable
	tenants table[TenantID, *Tenant]
	groups  table[GroupID, *Group]
	models  table[string, *Model]
	units   table[ChannelID, *unit]
	homes   table[AccountID, ChannelID]
	routes  table[GroupID, *routes]
	listed  table[string, int] // model -> channels that list it
}

// empty is the snapshot before the first: it knows nobody and nothing.
func empty() *Snapshot {
	return &Snapshot{
		settings: defaultSettings(),
		tenants:  newTable[TenantID, *Tenant](stringHash[TenantID]()),
		groups:   newTable[GroupID, *Group](stringHash[GroupID]()),
		models:   newTable[string, *Model](stringHash[string]()),
		units:    newTable[ChannelID, *unit](stringHash[ChannelID]()),
		homes:    newTable[AccountID, ChannelID](stringHash[AccountID]()),
		routes:   newTable[GroupID, *routes](stringHash[GroupID]()),
		listed:   newTable[string, int](stringHash[string]()),
	}
}

// Lineage names the data set; empty before the first snapshot.
func (s *Snapshot) Lineage() string { return s.lineage }

// Revision is the data set's revision; 0 before the first snapshot.
func (s *Snapshot) Revision() int64 { return s.revision }

// Settings are the fleet's, or the defaults.
func (s *Snapshot) Settings() Settings { return s.settings }

// SettingsRef are the same without a copy. Callers must not change them.
func (s *Snapshot) SettingsRef() *Settings { return &s.settings }

// Hasher makes the MACs that Key looks up. It is nil while the fleet's pepper is unknown: then no key can be known.
func (s *Snapshot) Hasher() *clientkey.Hasher { return s.hasher }

// Key finds a client's key by its whole MAC.
func (s *Snapshot) Key(mac clientkey.MAC) (*Key, bool) { return s.keys.get(&mac) }

// Group finds a group by its id.
func (s *Snapshot) Group(id GroupID) (*Group, bool) { return s.groups.get(id) }

// Tenant finds a tenant by its id.
func (s *Snapshot) Tenant(id TenantID) (*Tenant, bool) { return s.tenants.get(id) }

// Channel finds a channel by its id.
func (s *Snapshot) Channel(id ChannelID) (*Channel, bool) {
	u, ok := s.units.get(id)
	if !ok || u.channel == nil {
		return nil, false
	}
	return u.channel, true
}

// Pool finds what may serve model for the group; false when no enabled account of an enabled channel does. It has no tier when
// all that do are passive. The first call after a change compiles it.
func (s *Snapshot) Pool(g *Group, model string) (*Pool, bool) {
	if g.routes == nil {
		return nil, false
	}
	r, ok := g.routes.table.get(model)
	if !ok || r.live+r.aside == 0 {
		return nil, false
	}
	return r.compiled(), true
}

// Models are the names that the group serves, sorted. Callers must not change the list.
func (s *Snapshot) Models(g *Group) []string {
	if g.routes == nil {
		return nil
	}
	return g.routes.served()
}

// Listed reports whether a channel of the group lists the model, be it disabled or without an enabled account. With
// Pool it tells "not yours" from "not now".
func (s *Snapshot) Listed(g *Group, model string) bool {
	if g.routes == nil {
		return false
	}
	_, ok := g.routes.table.get(model)
	return ok
}

// Known reports whether a channel of any group lists the model.
func (s *Snapshot) Known(model string) bool {
	_, ok := s.listed.get(model)
	return ok
}

// unit is a channel with its accounts. It is immutable.
type unit struct {
	id       ChannelID
	channel  *Channel   // nil: accounts came, their channel did not
	accounts []*Account // sorted by id, disabled ones too
	roster   *Roster    // nil: nothing of it can serve
}

// routes are a group's, by model. The table is immutable.
type routes struct {
	table table[string, *route]
	names atomic.Pointer[[]string] // of models that are served; nil = not asked yet
}

// served lists the models that something can serve, sorted.
func (r *routes) served() []string {
	if names := r.names.Load(); names != nil {
		return *names
	}
	names := make([]string, 0, r.table.len())
	for name, route := range r.table.all() {
		if route.live > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	r.names.Store(&names)
	return names
}

// route is who lists one model for one group. Its pool is compiled when first asked for, and for routes that are in
// use already when they change, so that requests never wait for a big one.
type route struct {
	units []*unit // sorted by id
	live  int     // of these, with a roster that serves
	aside int     // of these, with one whose accounts are all passive
	pool  atomic.Pointer[Pool]
}

func (r *route) compiled() *Pool {
	if p := r.pool.Load(); p != nil {
		return p
	}
	p := newPool(r.units, nil, 0)
	if !r.pool.CompareAndSwap(nil, p) {
		return r.pool.Load() // everybody sees one and the same
	}
	return p
}
