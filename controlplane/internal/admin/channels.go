package admin

import (
	"context"
	"fmt"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// cascadeBatch is how many accounts one transaction deletes, at five operations each: room enough below the 128 that an
// etcd server allows by default.
const cascadeBatch = 16

type channelService struct{ *Service }

// CreateChannel stores the channel and its first accounts, all or nothing.
func (s channelService) CreateChannel(ctx context.Context, req *adminv1.CreateChannelRequest) (*adminv1.CreateChannelResponse, error) {
	channel := req.GetChannel()
	rs, prefixes := []model.Resource{channel}, []string{"channel"}
	for i, a := range req.GetAccounts() {
		prefix := fmt.Sprintf("accounts[%d]", i)
		switch a.GetChannel() {
		case "":
			a.Channel = channel.GetMetadata().GetName()
		case channel.GetMetadata().GetName():
		default:
			return nil, fault.New(fault.Invalid, "%s.channel: is %q, but the channel to create is %q", prefix,
				a.GetChannel(), channel.GetMetadata().GetName()).WithParam(prefix + ".channel")
		}
		if a.GetMetadata() == nil {
			a.Metadata = &resourcev1.Metadata{}
		}
		rs, prefixes = append(rs, a), append(prefixes, prefix)
	}
	for _, r := range rs {
		if err := s.born(r); err != nil {
			return nil, err
		}
	}
	revision, err := s.create(ctx, rs, prefixes)
	if err != nil {
		return nil, err
	}
	accounts := req.GetAccounts()
	for i, a := range accounts {
		if accounts[i], err = s.shown(ctx, a); err != nil {
			return nil, err
		}
	}
	return &adminv1.CreateChannelResponse{Channel: channel, Accounts: accounts, Revision: revision}, nil
}

func (s channelService) GetChannel(ctx context.Context, req *adminv1.GetChannelRequest) (*adminv1.GetChannelResponse, error) {
	r, err := get[*resourcev1.Channel](ctx, s.Service, model.KindChannel, req.GetName())
	if err != nil {
		return nil, err
	}
	return &adminv1.GetChannelResponse{Channel: r}, nil
}

func (s channelService) ListChannels(ctx context.Context, req *adminv1.ListChannelsRequest) (*adminv1.ListChannelsResponse, error) {
	p, err := list[*resourcev1.Channel](ctx, s.Service, model.KindChannel, req)
	if err != nil {
		return nil, err
	}
	return &adminv1.ListChannelsResponse{Channels: p.items, NextPageToken: p.next, TotalSize: p.total, Revision: p.revision}, nil
}

func (s channelService) UpdateChannel(ctx context.Context, req *adminv1.UpdateChannelRequest) (*adminv1.UpdateChannelResponse, error) {
	r, revision, err := update(ctx, s.Service, req.GetChannel(), req.GetUpdateMask(), nil)
	if err != nil {
		return nil, err
	}
	return &adminv1.UpdateChannelResponse{Channel: r, Revision: revision}, nil
}

// DeleteChannel deletes a channel that has no accounts, or with cascade its accounts too. More accounts than fit one
// transaction go first, batch by batch; whatever stops it in between, the channel is still there and it can be repeated.
func (s channelService) DeleteChannel(ctx context.Context, req *adminv1.DeleteChannelRequest) (*adminv1.DeleteChannelResponse, error) {
	also := s.unused(model.KindChannel)
	if req.GetCascade() {
		also = s.accountsOf
	}
	revision, err := s.remove(ctx, model.KindChannel, req.GetName(), req.GetEtag(), req.GetCascade(), also)
	if err != nil {
		return nil, err
	}
	return &adminv1.DeleteChannelResponse{Revision: revision}, nil
}

// accountsOf returns the deletion of the channel's last accounts, after those before them are gone.
func (s channelService) accountsOf(ctx context.Context, channel model.Resource) (store.Write, error) {
	st, err := s.state()
	if err != nil {
		return store.Write{}, err
	}
	if err := model.CheckCascade(st, channel.GetMetadata().GetName()); err != nil {
		return store.Write{}, err // before any account is gone
	}
	var w store.Write
	for a := range st.AccountsOf(channel.GetMetadata().GetName()) {
		if len(w.Deletes) == cascadeBatch {
			if _, err := s.commit(ctx, w); err != nil {
				return store.Write{}, race(err)
			}
			w.Deletes = nil
		}
		// This replica's copy may lag; what is deleted is what is stored now.
		now, err := s.store.Read(ctx, model.KindAccount, a.GetMetadata().GetId())
		if fault.KindOf(err) == fault.NotFound {
			continue
		}
		if err != nil {
			return store.Write{}, err
		}
		w.Deletes = append(w.Deletes, store.Delete{Resource: now})
	}
	return w, nil
}
