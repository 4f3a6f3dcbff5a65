package main

import (
	"strings"
	"testing"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/provider"
)

// credentials says what each kind is.
var credentials = map[provider.Credential]string{
	provider.Bearer:         "a key, sent as bearer",
	provider.APIKey:         "a key, sent in the provider's own header",
	provider.Entra:          "a token of Microsoft Entra ID, which Fairway gets for an application (`--exchange entra`)",
	provider.AccessKey:      "an AWS access key, with which requests are signed (`--access-key-id`)",
	provider.AssumedRole:    "a role that the access key assumes (`--exchange aws-role`)",
	provider.ServiceAccount: "the key file of a Google service account (`--exchange google-service-account`)",
	provider.Nothing:        "none; an account has a secret all the same, and any word will do",
}

// families says how the families of a provider's models are asked.
var families = map[string]string{
	"bedrock/anthropic": "Models of Anthropic's, by their id, inference profile or ARN, are asked by `messages` (`invoke`). " +
		"An application's own inference profile does not tell whose model it is, and goes by Converse.",
	"bedrock/others":   "All others are asked by Bedrock's Converse, which no client speaks: every request for them is converted.",
	"vertex/anthropic": "Models whose names begin with `claude-` or `anthropic/` are asked by `messages`.",
	"vertex/google":    "Models of Google's (`gemini-2.5-pro`, `google/gemini-2.5-pro`) are asked by `generate`.",
}

// create is the command that makes a channel of a provider.
func create(f *provider.Facts) string {
	flags := "--secret-env " + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_")) + "_API_KEY"
	switch resourcev1.Provider(f.Provider) {
	case resourcev1.Provider_PROVIDER_AZURE_OPENAI:
		flags = "--base-url https://RESOURCE.openai.azure.com " + flags
	case resourcev1.Provider_PROVIDER_BEDROCK:
		flags = "--region us-east-1 --access-key-id AKIAEXAMPLE --secret-env AWS_SECRET_ACCESS_KEY"
	case resourcev1.Provider_PROVIDER_VERTEX:
		flags = "--region global --exchange google-service-account --secret-file key.json"
	}
	if f.Name == "openai-compatible" {
		flags = "--base-url https://HOST/v1 " + flags
	}
	if len(f.Credentials) > 0 && f.Credentials[0] == provider.Nothing {
		return "printf none | fairway channel create " + f.Name + " --provider " + f.Name + " --models MODEL --secret-stdin"
	}
	return "fairway channel create " + f.Name + " --provider " + f.Name + " --models MODEL " + flags
}

// TestEveryFactHasWords: what is new in the facts must not come out as nothing.
func TestEveryFactHasWords(t *testing.T) {
	for _, f := range provider.All() {
		for _, c := range f.Credentials {
			if credentials[c] == "" {
				t.Errorf("%s: no words for the credential %q", f.Name, c)
			}
		}
		for _, m := range f.Models {
			if families[f.Name+"/"+m.Name] == "" {
				t.Errorf("%s: no words for the family %q", f.Name, m.Name)
			}
		}
		for _, q := range f.Quirks {
			if strings.Contains(quirk(&q), "unknown change") {
				t.Errorf("%s: no words for the action %d", f.Name, q.Action)
			}
		}
	}
}
