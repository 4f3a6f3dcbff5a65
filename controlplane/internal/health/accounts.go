package health

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"

	"google.golang.org/protobuf/proto"

	"fairway/controlplane/internal/model"
	"fairway/pkg/breaker"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/judge"
)

// roster turns the accounts of a state into what the judge knows them by. It keeps what it made: most accounts are the
// same the next time.
type roster struct {
	made  map[string]*made          // by account id
	full  map[string]*filledChannel // by name
	reads int                       // how often it was read
}

type made struct {
	account *resourcev1.Account
	channel *filledChannel
	judged  judge.Account
	read    int // the last that it was in
}

// filledChannel is a channel as it is stored, and with its defaults.
type filledChannel struct{ stored, filled *resourcev1.Channel }

// read returns all accounts of a state that have a channel. verdict is what was decided about an account; nil = nothing.
func (r *roster) read(s *model.State, verdict func(id string) *resourcev1.AccountHealth) []judge.Account {
	channels := r.channels(s)
	r.reads++
	if r.made == nil {
		r.made = make(map[string]*made, s.Len(model.KindAccount))
	}
	list := make([]judge.Account, 0, s.Len(model.KindAccount))
	for res := range s.All(model.KindAccount) {
		a, ok := res.(*resourcev1.Account)
		c := channels[a.GetChannel()]
		if !ok || c == nil {
			continue
		}
		id := a.GetMetadata().GetId()
		m := r.made[id]
		if m == nil || m.account != a || m.channel != c {
			m = &made{account: a, channel: c, judged: judged(a, c.filled)}
			r.made[id] = m
		}
		m.read = r.reads
		m.judged.Verdict = verdict(id)
		if c := model.CredentialOf(s, a); c != nil {
			m.judged.Token = c.GetMetadata().GetEtag()
		}
		list = append(list, m.judged)
	}
	maps.DeleteFunc(r.made, func(_ string, m *made) bool { return m.read != r.reads })
	return list
}

func (r *roster) channels(s *model.State) map[string]*filledChannel {
	next := make(map[string]*filledChannel, s.Len(model.KindChannel))
	for res := range s.All(model.KindChannel) {
		c, ok := res.(*resourcev1.Channel)
		if !ok {
			continue
		}
		name := c.GetMetadata().GetName()
		f := r.full[name]
		if f == nil || f.stored != c {
			f = &filledChannel{stored: c, filled: proto.CloneOf(c)}
			model.Defaults(f.filled)
		}
		next[name] = f
	}
	r.full = next
	return next
}

// judged is an account without its verdict; c has its defaults. What it shares with the resources nobody writes to.
func judged(stored *resourcev1.Account, c *resourcev1.Channel) judge.Account {
	a := proto.CloneOf(stored)
	model.Defaults(a)
	return judge.Account{
		ID: a.GetMetadata().GetId(), Name: a.GetMetadata().GetName(),
		Channel: c.GetMetadata().GetName(), ChannelID: c.GetMetadata().GetId(),
		Provider: int32(c.GetProvider()), Organization: a.GetOrganization(), Credential: credential(a),
		Models: c.GetModels(), Groups: c.GetGroups(), Priority: c.GetPriority(),
		ChannelWeight: float64(c.GetWeight()), Weight: float64(a.GetWeight()),
		Disabled: a.GetDisabled() || c.GetDisabled(),
		Capped: a.GetConcurrency() > 0 || a.GetRpm() > 0 || a.GetTpm() > 0 ||
			a.GetSessionWindow().GetMaxRequests() > 0 || a.GetSessionWindow().GetMaxTokens() > 0,
		Session: a.GetSessionWindow().GetLength().AsDuration(),
	}
}

// credential tells two credentials of an account apart, and reveals neither.
func credential(a *resourcev1.Account) string {
	x := a.GetExchange()
	h := sha256.New()
	for _, part := range []string{
		a.GetSecret().GetFingerprint(), a.GetAccessKeyId(),
		x.GetMethod().String(), x.GetTokenUrl(), x.GetTenantId(), x.GetClientId(), x.GetRole(), x.GetScope(),
	} {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part))))
		h.Write([]byte(part))
	}
	return string(h.Sum(nil)[:16])
}

// rules are the thresholds and times of the settings.
func rules(stored *resourcev1.Settings) breaker.Rules {
	s := proto.CloneOf(stored)
	model.Defaults(s)
	t, r := s.GetThresholds(), s.GetRecovery()
	return breaker.Rules{
		ConsecutiveFailures: int(t.GetConsecutiveFailures()),
		MaxErrorRate:        t.GetMaxErrorRate(),
		MinRequests:         int(t.GetMinRequests()),
		Window:              t.GetWindow().AsDuration(),
		MaxTTFTRatio:        t.GetMaxTtftRatio(),
		MaxEjected:          float64(t.GetMaxEjectedPercent()) / 100,
		Panic:               float64(t.GetPanicPercent()) / 100,
		Open:                r.GetOpen().AsDuration(),
		MaxOpen:             r.GetMaxOpen().AsDuration(),
		SlowStart:           r.GetSlowStart().AsDuration(),
		CheckInterval:       r.GetCheckInterval().AsDuration(),
		Check:               breaker.Check(r.GetCheck()),
	}
}
