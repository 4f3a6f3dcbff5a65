package archtest

const module = "fairway"

// Sets of packages that several rules name.
const (
	house        = module + "/..."
	gen          = module + "/pkg/gen/..."
	testkit      = module + "/pkg/testkit/..."
	controlplane = module + "/controlplane"
	dataplane    = module + "/dataplane"
	thinBinary   = dataplane + "/cmd/fairway-dataplane"
	ctl          = controlplane + "/ctl"
	deploy       = module + "/deploy/..."
)

// rules are the rules of the house but for siblings. Each is named, because a failure shows the name.
func rules() []rule {
	return []rule{
		{
			name:   "generated",
			reason: "generated code is the bottom of the house and is thrown away and made anew; it imports nothing of ours",
			who:    []string{gen},
			not:    []string{house}, except: []string{gen},
		},
		{
			name:   "pkg",
			reason: "imports run one way, main -> door -> rooms -> pkg; what both planes share knows neither",
			who:    []string{module + "/pkg/..."},
			not:    []string{house}, except: []string{module + "/pkg/..."},
		},
		{
			name:   "planes",
			reason: "the planes run as separate processes and meet only in proto; neither imports the other",
			who:    []string{controlplane + "/..."},
			not:    []string{dataplane + "/..."}, linked: true,
		},
		{
			name:   "planes",
			reason: "the planes run as separate processes and meet only in proto; neither imports the other",
			who:    []string{dataplane + "/..."},
			not:    []string{controlplane + "/..."}, linked: true,
		},
		{
			name:   "rooms",
			reason: "imports run one way, main -> door -> rooms -> pkg; a room that needs its door needs an interface instead",
			who:    []string{controlplane + "/internal/...", dataplane + "/internal/..."},
			not: []string{
				module, controlplane, ctl + "/...", dataplane, dataplane + "/cmd/...", deploy,
			},
		},
		{
			name:   "doors",
			reason: "a door is opened from outside: main, demo, deploy and the thin binary import doors, and nobody else does",
			who:    []string{controlplane + "/...", dataplane + "/..."},
			but:    []string{thinBinary},
			not:    []string{module, controlplane, dataplane, dataplane + "/cmd/..."},
		},
		{
			name:   "ctl",
			reason: "the command line is a client of the admin API like any other; what it needs beyond pkg is missing in the API",
			who:    []string{ctl + "/..."},
			not:    []string{house}, except: []string{module + "/pkg/...", ctl + "/..."},
		},
		{
			name:   "etcd",
			reason: "only store knows etcd, so that keys, guards and watches are in one place",
			who:    []string{house},
			but:    []string{controlplane + "/internal/store/...", testkit},
			not:    []string{"go.etcd.io/..."},
		},
		{
			name:   "thin",
			reason: "a proxy has no store: fairway-dataplane stays small and can be upgraded without a thought for etcd",
			who:    []string{dataplane + "/..."},
			not:    []string{"go.etcd.io/..."}, linked: true,
		},
		{
			name:   "testkit",
			reason: "fakes do not ship: only tests, demo and the bench use testkit",
			who:    []string{house},
			but:    []string{testkit, deploy},
			not:    []string{testkit},
		},
		{
			name:   "testkit",
			reason: "fakes do not ship: the thin binary has no demo, so it links no testkit",
			who:    []string{controlplane + "/...", dataplane + "/..."},
			not:    []string{testkit}, linked: true,
		},
		{
			name:   "connect",
			reason: "only admin, operator, ctl and the doors speak connect; others return fault errors and stay free of transports",
			who:    []string{house},
			but: []string{
				controlplane + "/internal/admin/...", controlplane + "/internal/operator/...",
				ctl + "/...", controlplane, dataplane, module, deploy, gen, testkit,
			},
			not: []string{"connectrpc.com/..."},
		},
		{
			name: "grpc",
			reason: "only publish (all of it on the control plane), subscribe, report, health, lease and the doors speak grpc; " +
				"others return fault errors and stay free of transports",
			who: []string{house},
			but: []string{
				controlplane + "/internal/publish/...", controlplane + "/internal/lease/...", controlplane,
				controlplane + "/internal/store/...", // etcd's statuses and embedded server are gRPC's
				dataplane + "/internal/subscribe/...", dataplane + "/internal/report/...",
				dataplane + "/internal/lease/...", dataplane + "/internal/health/...", dataplane, module + "/pkg/leader", gen, testkit,
			},
			not: []string{"google.golang.org/grpc/..."},
		},
		{
			name:   "commands",
			reason: "only main, ctl, the doors and pkg/flags know the command line; rooms take options",
			who:    []string{house},
			but: []string{
				module, ctl + "/...", controlplane, dataplane, dataplane + "/cmd/...", deploy, module + "/pkg/flags", testkit,
			},
			not: []string{"github.com/spf13/cobra/...", "github.com/spf13/pflag/..."},
		},
	}
}

// siblings lists, by "<plane>/<room>", the rooms of the same plane that a room may import; "*" is all. A room that is
// not listed imports none. Arrows of DESIGN are chains: who may import store may import what store is made of.
func siblings() map[string][]string {
	return map[string][]string{
		// Dialects know the hub and never each other.
		"dataplane/dialect/openai":    {"dialect/neutral"},
		"dataplane/dialect/responses": {"dialect/neutral"},
		"dataplane/dialect/anthropic": {"dialect/neutral"},
		"dataplane/dialect/gemini":    {"dialect/neutral"},
		"dataplane/dialect/converse":  {"dialect/neutral"},

		"controlplane/store":      {"model"},
		"controlplane/operator":   {"model"},
		"controlplane/build":      {"model"},
		"controlplane/admin":      {"operator", "store", "model"},
		"controlplane/ledger":     {"store", "model"},
		"controlplane/enroll":     {"store", "model"},
		"controlplane/credential": {"store", "model"},
		"controlplane/expiry":     {"store", "model"},
		"controlplane/health":     {"store", "model"},
		"controlplane/notify":     {"store", "model"},
		"controlplane/lease":      {"store", "model"},
		"controlplane/publish":    {"build", "model"},
		"dataplane/provider":      {"dialect"},
		"dataplane/snapshot":      {"dialect/edit", "limit", "provider"},
		"dataplane/lease":         {"limit"},
		"dataplane/auth":          {"snapshot"},
		"dataplane/route":         {"snapshot"},
		"dataplane/health":        {"snapshot", "dialect"},
		"dataplane/sim":           {"snapshot", "dialect", "health", "route"},
		"dataplane/subscribe":     {"snapshot"},
		"dataplane/ingress":       {"sock"},
		"dataplane/upstream":      {"sock"},
		"dataplane/accesslog":     {"journal"},
		"dataplane/otlp":          {"journal"},
		"dataplane/gateway":       {"*"},
	}
}
