package snapshot

import (
	"maps"
	"slices"
)

// delta is one resource whose form changed. A nil form is none.
type delta struct {
	old, new form
}

// linker makes snapshots out of forms. It owns the cells. Not safe for concurrent use.
type linker struct {
	cells  map[AccountID]*Cell
	groups map[GroupID]*GroupCell
}

func newLinker() *linker {
	return &linker{cells: make(map[AccountID]*Cell), groups: make(map[GroupID]*GroupCell)}
}

// link returns prev with deltas in it. References need not be whole: what points nowhere serves nothing until its
// target comes.
func (l *linker) link(prev *Snapshot, deltas []delta) *Snapshot {
	next := *prev
	l.linkSettings(&next, deltas)
	l.linkModels(&next, deltas)
	l.linkTenants(&next, deltas)
	l.linkKeys(&next, deltas)
	changed := l.linkUnits(&next, deltas)
	l.linkGroups(&next, deltas, linkRoutes(&next, changed))
	return &next
}

func (l *linker) linkSettings(next *Snapshot, deltas []delta) {
	for _, d := range deltas {
		if _, ok := d.old.(*settings); ok && d.new == nil {
			next.settings, next.hasher, next.prices = defaultSettings(), nil, settingsPrices{}
		}
	}
	for _, d := range deltas {
		if st, ok := d.new.(*settings); ok {
			next.settings, next.hasher, next.prices = st.Settings, st.hasher, st.prices
		}
	}
}

// linkModels and linkKeys take out before they put in: a name, or a MAC, may have moved from one resource to another.
func (l *linker) linkModels(next *Snapshot, deltas []delta) {
	e := next.models.edit()
	for _, d := range deltas {
		if m, ok := d.old.(*Model); ok {
			if now, _ := e.get(m.Name); now == m {
				e.delete(m.Name)
			}
		}
	}
	for _, d := range deltas {
		if m, ok := d.new.(*Model); ok {
			e.set(m.Name, m)
		}
	}
	next.models = e.done()
}

func (l *linker) linkTenants(next *Snapshot, deltas []delta) {
	e := next.tenants.edit()
	for _, d := range deltas {
		if old, ok := d.old.(*Tenant); ok && d.new == nil {
			e.delete(old.ID)
		}
		if now, ok := d.new.(*Tenant); ok {
			e.set(now.ID, now)
		}
	}
	next.tenants = e.done()
}

func (l *linker) linkKeys(next *Snapshot, deltas []delta) {
	e := next.keys.edit()
	for _, d := range deltas {
		if k, ok := d.old.(*Key); ok {
			if now, _ := e.get(&k.mac); now == k {
				e.delete(&k.mac)
			}
		}
	}
	for _, d := range deltas {
		if k, ok := d.new.(*Key); ok {
			e.set(k)
		}
	}
	next.keys = e.done()
}

// unitChange is what happens to one channel and its accounts.
type unitChange struct {
	channel  *Channel
	touched  bool // channel says what the channel is now; else it is as before
	accounts []up[*Account]
}

// linkUnits rebuilds the units that are touched and returns them with their former selves.
func (l *linker) linkUnits(next *Snapshot, deltas []delta) []swap {
	changes := make(map[ChannelID]*unitChange)
	of := func(id ChannelID) *unitChange {
		c := changes[id]
		if c == nil {
			c = &unitChange{}
			changes[id] = c
		}
		return c
	}
	homes := next.homes.edit()
	for _, d := range deltas {
		switch old := d.old.(type) {
		case *Channel:
			c := of(old.ID)
			c.touched = true
		case *Account:
			of(old.channelID).accounts = append(of(old.channelID).accounts, up[*Account]{id: string(old.ID), gone: true})
			if d.new == nil {
				homes.delete(old.ID)
				delete(l.cells, old.ID)
			}
		}
		switch now := d.new.(type) {
		case *Channel:
			c := of(now.ID)
			c.channel, c.touched = now, true
		case *Account:
			old, _ := d.old.(*Account)
			homes.set(now.ID, now.channelID)
			linked := *now
			linked.Cell = l.cellOf(old, now)
			of(now.channelID).accounts = append(of(now.channelID).accounts, up[*Account]{id: string(now.ID), item: &linked})
		}
	}
	next.homes = homes.done()
	e := next.units.edit()
	swaps := make([]swap, 0, len(changes))
	for _, id := range slices.Sorted(maps.Keys(changes)) {
		old, _ := e.get(id)
		u := l.unit(id, old, changes[id])
		swaps = append(swaps, swap{old: old, new: u})
		if u == nil {
			e.delete(id)
		} else {
			e.set(id, u)
		}
	}
	next.units = e.done()
	return swaps
}

// unit applies a change to a unit. Accounts are shared with the old one unless they, or their channel, changed.
func (l *linker) unit(id ChannelID, old *unit, c *unitChange) *unit {
	u := &unit{id: id}
	var was *Channel
	if old != nil {
		was = old.channel
		u.accounts = old.accounts
	}
	u.channel = was
	if c.touched {
		u.channel = c.channel
	}
	u.accounts = merge(u.accounts, func(a *Account) string { return string(a.ID) }, c.accounts)
	if u.channel == nil && len(u.accounts) == 0 {
		return nil
	}
	both := was != nil && u.channel != nil
	moved := both && was.BaseURL != u.channel.BaseURL
	enabled := both && was.Disabled && !u.channel.Disabled
	for i, a := range u.accounts {
		if a.Channel == u.channel {
			continue
		}
		linked := *a
		linked.Channel = u.channel
		if moved {
			linked.Cell = &Cell{}
			l.cells[a.ID] = linked.Cell
		}
		if enabled || moved {
			linked.Cell.judge(a.Verdict)
		}
		u.accounts[i] = &linked
	}
	var before *Roster
	if old != nil {
		before = old.roster
	}
	u.roster = newRoster(u.channel, u.accounts, before)
	return u
}

// cellOf is the cell for the new form of an account. A new credential starts afresh. Any other change, be it an operator's or
// of the verdict, ends what this proxy holds against the account; from then on the verdict counts.
func (l *linker) cellOf(old, now *Account) *Cell {
	cell := l.cells[now.ID]
	switch {
	case cell == nil, old != nil && !old.Secret.Equal(now.Secret):
		cell = &Cell{}
		l.cells[now.ID] = cell
	}
	cell.judge(now.Verdict)
	return cell
}

// swap is one unit before and after; nil = none.
type swap struct{ old, new *unit }

// linkRoutes takes units in and out of the routes that they list, and returns the groups whose routes are new. Only
// routes of touched (group, model) pairs change; those in use are compiled at once.
func linkRoutes(next *Snapshot, swaps []swap) map[GroupID]*routes {
	type ups map[string][]up[*unit]
	byGroup := make(map[GroupID]ups)
	listed := next.listed.edit()
	each := func(u *unit, gone bool, count int) {
		if u == nil || u.channel == nil {
			return
		}
		for _, g := range u.channel.Groups {
			if byGroup[g] == nil {
				byGroup[g] = make(ups)
			}
			for _, m := range u.channel.Models {
				byGroup[g][m] = append(byGroup[g][m], up[*unit]{id: string(u.id), item: u, gone: gone})
			}
		}
		for _, m := range u.channel.Models {
			n, _ := listed.get(m)
			if n += count; n == 0 {
				listed.delete(m)
			} else {
				listed.set(m, n)
			}
		}
	}
	for _, s := range swaps {
		each(s.old, true, -1)
		each(s.new, false, +1)
	}
	next.listed = listed.done()

	fresh := make(map[GroupID]*routes, len(byGroup))
	edit := next.routes.edit()
	for g, models := range byGroup {
		rs := &routes{table: newTable[string, *route](stringHash[string]())}
		old, ok := edit.get(g)
		if ok {
			rs.table = old.table
		}
		e := rs.table.edit()
		sameNames := ok
		for m, changes := range models {
			before, _ := e.get(m)
			after := before.with(changes)
			if (before != nil && before.live > 0) != (after != nil && after.live > 0) {
				sameNames = false
			}
			if after == nil {
				e.delete(m)
			} else {
				e.set(m, after)
			}
		}
		rs.table = e.done()
		if sameNames {
			rs.names.Store(old.names.Load())
		}
		if fresh[g] = rs; rs.table.len() == 0 {
			fresh[g] = nil
			edit.delete(g)
		} else {
			edit.set(g, rs)
		}
	}
	next.routes = edit.done()
	return fresh
}

// with is the route after changes; nil when nobody lists the model any more. r may be nil.
func (r *route) with(changes []up[*unit]) *route {
	var units []*unit
	var pool *Pool
	if r != nil {
		units, pool = r.units, r.pool.Load()
	}
	next := &route{units: merge(units, func(u *unit) string { return string(u.id) }, changes)}
	if len(next.units) == 0 {
		return nil
	}
	for _, u := range next.units {
		switch {
		case u.roster.serves():
			next.live++
		case u.roster != nil:
			next.aside++
		}
	}
	if pool != nil && next.live+next.aside > 0 {
		next.pool.Store(newPool(next.units, pool, 0))
	}
	return next
}

// linkGroups rebuilds the groups that changed, and those whose routes did.
func (l *linker) linkGroups(next *Snapshot, deltas []delta, fresh map[GroupID]*routes) {
	e := next.groups.edit()
	put := func(g Group) {
		g.routes, _ = next.routes.get(g.ID)
		if g.Cell = l.groups[g.ID]; g.Cell == nil {
			g.Cell = &GroupCell{}
			l.groups[g.ID] = g.Cell
		}
		e.set(g.ID, &g)
	}
	for _, d := range deltas {
		if old, ok := d.old.(*Group); ok && d.new == nil {
			e.delete(old.ID)
			delete(l.groups, old.ID)
		}
		if now, ok := d.new.(*Group); ok {
			put(*now)
		}
	}
	for id := range fresh {
		if g, ok := e.get(id); ok {
			put(*g)
		}
	}
	next.groups = e.done()
}
