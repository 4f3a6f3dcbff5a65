// Package version says which build this is. It reads what the linker or the Go toolchain wrote into the binary and asks
// nobody else.
package version

import "runtime/debug"

// stamp is set by the linker: -ldflags "-X fairway/pkg/version.stamp=v1.2.3".
var stamp string //nolint:gochecknoglobals // the linker can set nothing else

// String is the stamped version; without a stamp it is "devel", with the commit it was built from when that is known,
// such as "devel-1a2b3c4d5e6f-dirty".
func String() string {
	if stamp != "" {
		return stamp
	}
	info, _ := debug.ReadBuildInfo()
	return fromBuildInfo(info)
}

func fromBuildInfo(info *debug.BuildInfo) string {
	const devel = "devel"
	if info == nil {
		return devel
	}
	var revision, dirty string
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value
		case "vcs.modified":
			if s.Value == "true" {
				dirty = "-dirty"
			}
		}
	}
	if revision == "" {
		return devel
	}
	return devel + "-" + revision[:min(12, len(revision))] + dirty
}
