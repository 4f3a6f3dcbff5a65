package admin

import (
	"context"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

type settingsService struct{ *Service }

// GetSettings returns the settings, which every data set is born with, as they work: what a data set does not hold,
// because it was born before there was such a field, has its default.
func (s settingsService) GetSettings(context.Context, *adminv1.GetSettingsRequest) (*adminv1.GetSettingsResponse, error) {
	st, err := s.state()
	if err != nil {
		return nil, err
	}
	settings, err := copyOf(st.Settings())
	if err != nil {
		return nil, err
	}
	model.Defaults(settings)
	return &adminv1.GetSettingsResponse{Settings: settings}, nil
}

// UpdateSettings changes the settings. There is only one such resource, so its name may be left out.
func (s settingsService) UpdateSettings(ctx context.Context, req *adminv1.UpdateSettingsRequest) (*adminv1.UpdateSettingsResponse, error) {
	in := req.GetSettings()
	if in == nil {
		return nil, fault.New(fault.Invalid, "settings: value is required").WithParam("settings")
	}
	if in.GetMetadata() == nil {
		in.Metadata = &resourcev1.Metadata{}
	}
	switch in.GetMetadata().GetName() {
	case "":
		in.Metadata.Name = model.SettingsName
	case model.SettingsName:
	default:
		return nil, fault.New(fault.Invalid, "settings.metadata.name: the only settings are called %q", model.SettingsName).
			WithParam("settings.metadata.name")
	}
	r, revision, err := update(ctx, s.Service, in, req.GetUpdateMask(), nil)
	if err != nil {
		return nil, err
	}
	return &adminv1.UpdateSettingsResponse{Settings: r, Revision: revision}, nil
}
