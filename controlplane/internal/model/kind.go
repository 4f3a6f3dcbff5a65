// Package model is the control plane's domain: the kinds of resources, the immutable State that holds all of them at
// one revision, their documented defaults and the rules that need more than one resource to decide.
//
// It is pure. It refuses to do I/O, to know how resources are stored or sent, to hold secrets in the clear and to
// authenticate anyone. Field rules that one message can decide alone live in the .proto files (protovalidate).
package model

import (
	"strconv"

	"google.golang.org/protobuf/proto"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// Kind names a kind of resource, as it stands in storage keys, audit records and on the command line.
type Kind string

// The kinds.
const (
	KindChannel  Kind = "channel"
	KindAccount  Kind = "account"
	KindGroup    Kind = "group"
	KindTenant   Kind = "tenant"
	KindKey      Kind = "key"
	KindModel    Kind = "model"
	KindOperator Kind = "operator"
	KindNotifier Kind = "notifier"
	KindSettings Kind = "settings"
	// KindCredential is what an account's exchange gave: the leader's to write, and nobody's to ask for.
	KindCredential Kind = "credential"
	// KindVerdict is what was decided last about an account's health: the leader's to write, or an operator's reset.
	KindVerdict Kind = "verdict"
)

const (
	// SettingsName is the name of the one Settings resource.
	SettingsName = "settings"
	// DefaultGroup is the group of channels and keys that name none. Every data set is born with it.
	DefaultGroup = "default"
)

const kindCount = 11

// Kinds returns all kinds; those that others refer to come before those that refer.
func Kinds() []Kind {
	return []Kind{
		KindSettings, KindGroup, KindTenant, KindChannel, KindAccount, KindCredential, KindVerdict, KindKey, KindModel, KindOperator, KindNotifier,
	}
}

// index places a kind in the arrays of a State; -1 for an unknown kind.
func (k Kind) index() int {
	switch k {
	case KindSettings:
		return 0
	case KindGroup:
		return 1
	case KindChannel:
		return 2
	case KindAccount:
		return 3
	case KindKey:
		return 4
	case KindModel:
		return 5
	case KindOperator:
		return 6
	case KindCredential:
		return 7
	case KindVerdict:
		return 8
	case KindTenant:
		return 9
	case KindNotifier:
		return 10
	default:
		return -1
	}
}

// Valid reports whether k is one of Kinds.
func (k Kind) Valid() bool { return k.index() >= 0 }

// Resource is what all kinds have in common. A Resource inside a State is shared: never write to it, proto.Clone first.
type Resource interface {
	proto.Message
	GetMetadata() *resourcev1.Metadata
}

// Zero returns a new empty resource of the kind with its Metadata set; nil for an unknown kind.
func Zero(k Kind) Resource {
	m := &resourcev1.Metadata{}
	switch k {
	case KindChannel:
		return &resourcev1.Channel{Metadata: m}
	case KindAccount:
		return &resourcev1.Account{Metadata: m}
	case KindGroup:
		return &resourcev1.Group{Metadata: m}
	case KindKey:
		return &resourcev1.Key{Metadata: m}
	case KindModel:
		return &resourcev1.Model{Metadata: m}
	case KindOperator:
		return &resourcev1.Operator{Metadata: m}
	case KindTenant:
		return &resourcev1.Tenant{Metadata: m}
	case KindNotifier:
		return &resourcev1.Notifier{Metadata: m}
	case KindSettings:
		return &resourcev1.Settings{Metadata: m}
	case KindCredential:
		return &resourcev1.Credential{Metadata: m}
	case KindVerdict:
		return &resourcev1.Verdict{Metadata: m}
	default:
		return nil
	}
}

// KindOf returns the kind of a resource; "" for a message that is none.
func KindOf(r Resource) Kind {
	switch r.(type) {
	case *resourcev1.Channel:
		return KindChannel
	case *resourcev1.Account:
		return KindAccount
	case *resourcev1.Group:
		return KindGroup
	case *resourcev1.Key:
		return KindKey
	case *resourcev1.Model:
		return KindModel
	case *resourcev1.Operator:
		return KindOperator
	case *resourcev1.Tenant:
		return KindTenant
	case *resourcev1.Notifier:
		return KindNotifier
	case *resourcev1.Settings:
		return KindSettings
	case *resourcev1.Credential:
		return KindCredential
	case *resourcev1.Verdict:
		return KindVerdict
	default:
		return ""
	}
}

// Version returns the revision of the stored form, which every Resource of a State carries as its etag; 0 when the etag
// is empty or not a number.
func Version(r Resource) int64 {
	v, err := strconv.ParseInt(r.GetMetadata().GetEtag(), 10, 64)
	if err != nil || v < 0 {
		return 0
	}
	return v
}

// SetVersion writes a version into the etag. Only for a Resource that is not shared yet.
func SetVersion(r Resource, version int64) {
	r.GetMetadata().Etag = strconv.FormatInt(version, 10)
}
