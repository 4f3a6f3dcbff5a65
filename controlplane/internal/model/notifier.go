package model

import (
	"net"
	"net/mail"
	"net/url"
	"strconv"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// checkNotifier refuses targets that could never be reached, and a password that would go out in the clear.
func checkNotifier(n *resourcev1.Notifier) error {
	switch target := n.GetTarget().(type) {
	case *resourcev1.Notifier_Webhook:
		if u, err := url.Parse(target.Webhook.GetUrl()); err != nil || u.Hostname() == "" {
			return invalid("webhook.url", "is not a URL of http or https")
		}
	case *resourcev1.Notifier_Slack:
		if target.Slack.GetUrl().GetSealed() == nil {
			return invalid("slack.url", "is missing")
		}
	case *resourcev1.Notifier_Smtp:
		return checkSMTP(target.Smtp)
	}
	return nil
}

func checkSMTP(m *resourcev1.Smtp) error {
	host, port, err := net.SplitHostPort(m.GetAddress())
	if n, bad := strconv.Atoi(port); err != nil || bad != nil || host == "" || n < 1 || n > 65535 {
		return invalid("smtp.address", "%q is not host:port", m.GetAddress())
	}
	if !bareAddress(m.GetFrom()) {
		return invalid("smtp.from", "%q is not a bare address such as a@example.com", m.GetFrom())
	}
	for _, to := range m.GetTo() {
		if !bareAddress(to) {
			return invalid("smtp.to", "%q is not a bare address such as a@example.com", to)
		}
	}
	password := m.GetPassword().GetSealed() != nil
	switch {
	case m.GetUsername() != "" && !password:
		return invalid("smtp.password", "is missing; a username needs one")
	case m.GetUsername() == "" && password:
		return invalid("smtp.username", "is missing; a password needs one")
	case m.GetPlain() && password:
		return invalid("smtp.plain", "a password is not sent without TLS")
	}
	return nil
}

// bareAddress says whether s is a mail address and nothing else.
func bareAddress(s string) bool {
	a, err := mail.ParseAddress(s)
	return err == nil && a.Address == s
}
