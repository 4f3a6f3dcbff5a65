package model

import (
	"errors"
	"fmt"
	"strings"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/provider"
)

// Endpoint returns where a channel's requests go: its base URL in canonical form, or where that is empty the one of its
// preset, its provider or its region. The provider's version path is left out whichever way the URL was given.
func Endpoint(c *resourcev1.Channel) (string, error) {
	raw := c.GetBaseUrl()
	if raw == "" {
		raw = ownEndpoint(c)
	}
	if raw == "" {
		return "", errors.New("is required: the provider has no address of its own")
	}
	base, err := BaseURL(raw)
	if err != nil {
		return "", err
	}
	for _, version := range versionPaths(c.GetProvider()) {
		base = strings.TrimSuffix(base, version)
	}
	return base, nil
}

// versionPaths are what BaseURL does not know to be a version: it is an operator's habit to copy them along.
func versionPaths(p resourcev1.Provider) []string {
	switch p {
	case resourcev1.Provider_PROVIDER_GEMINI:
		return []string{"/openai", "/v1beta"}
	case resourcev1.Provider_PROVIDER_AZURE_OPENAI:
		return []string{"/openai"}
	default:
		return nil
	}
}

// ownEndpoint is the address that a provider or preset has when none is given; "" = it has none.
func ownEndpoint(c *resourcev1.Channel) string {
	region := c.GetRegion()
	switch c.GetProvider() {
	case resourcev1.Provider_PROVIDER_BEDROCK:
		switch {
		case region == "":
			return ""
		case strings.HasPrefix(region, "cn-"):
			return fmt.Sprintf("https://bedrock-runtime.%s.amazonaws.com.cn", region)
		default:
			return fmt.Sprintf("https://bedrock-runtime.%s.amazonaws.com", region)
		}
	case resourcev1.Provider_PROVIDER_VERTEX:
		switch region {
		case "":
			return ""
		case "global":
			return "https://aiplatform.googleapis.com"
		default:
			return fmt.Sprintf("https://%s-aiplatform.googleapis.com", region)
		}
	default:
		facts, ok := provider.Lookup(int32(c.GetProvider()), c.GetPreset())
		if !ok {
			return ""
		}
		return facts.BaseURL
	}
}
