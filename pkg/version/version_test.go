package version

import (
	"runtime/debug"
	"testing"
)

func TestFromBuildInfo(t *testing.T) {
	settings := func(pairs ...string) *debug.BuildInfo {
		info := &debug.BuildInfo{}
		for i := 0; i < len(pairs); i += 2 {
			info.Settings = append(info.Settings, debug.BuildSetting{Key: pairs[i], Value: pairs[i+1]})
		}
		return info
	}
	tests := []struct {
		name string
		info *debug.BuildInfo
		want string
	}{
		{"nothing known", nil, "devel"},
		{"no commit", settings("vcs.modified", "true"), "devel"},
		{"commit", settings("vcs.revision", "0123456789abcdef", "vcs.modified", "false"), "devel-0123456789ab"},
		{"changed since", settings("vcs.revision", "0123456789abcdef", "vcs.modified", "true"), "devel-0123456789ab-dirty"},
		{"short commit", settings("vcs.revision", "0123"), "devel-0123"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := fromBuildInfo(tt.info); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestStampWins(t *testing.T) {
	old := stamp
	defer func() { stamp = old }()
	stamp = "v1.2.3"
	if got := String(); got != "v1.2.3" {
		t.Errorf("String = %q", got)
	}
}
