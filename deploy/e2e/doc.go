// Package e2e tests Fairway as its users run it: the real binaries as processes of their own, a real etcd cluster, the
// official SDKs as clients, and a strict fake provider. It refuses to look inside: everything is done and seen through
// listeners, files and exit codes.
package e2e
