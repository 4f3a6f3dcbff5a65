package model

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
)

// KeyFile is what a Google service account's key file says: who signs, with what, and who turns that into tokens.
type KeyFile struct {
	Email    string
	KeyID    string
	Project  string
	TokenURL string
	Key      *rsa.PrivateKey
}

// IsKeyFile says whether a secret has the form of a key file: all others are one word.
func IsKeyFile(secret string) bool { return strings.HasPrefix(secret, "{") }

// ParseKeyFile reads a key file as Google's console gives it out. Errors name the field and never its value.
func ParseKeyFile(secret string) (*KeyFile, error) {
	var f struct {
		Type     string `json:"type"`
		Project  string `json:"project_id"`
		KeyID    string `json:"private_key_id"`
		Key      string `json:"private_key"`
		Email    string `json:"client_email"`
		TokenURL string `json:"token_uri"`
	}
	if json.Unmarshal([]byte(secret), &f) != nil {
		return nil, errors.New("is not a key file: not JSON, or not of its shape")
	}
	switch {
	case f.Type != "service_account":
		return nil, errors.New(`is not a service account's key file: its "type" is not "service_account"`)
	case f.Email == "":
		return nil, errors.New(`is a key file without a "client_email"`)
	case f.Key == "":
		return nil, errors.New(`is a key file without a "private_key"`)
	}
	if f.TokenURL == "" {
		f.TokenURL = "https://oauth2.googleapis.com/token"
	}
	if why := tokenURL(f.TokenURL); why != "" {
		return nil, errors.New(`is a key file whose "token_uri" ` + why)
	}
	key, err := parseRSA(f.Key)
	if err != nil {
		return nil, err
	}
	return &KeyFile{Email: f.Email, KeyID: f.KeyID, Project: f.Project, TokenURL: f.TokenURL, Key: key}, nil
}

// maxKey is room for a key of 4096 bits, which Google's never exceed. To check a longer one can take seconds.
const maxKey = 2560

func parseRSA(text string) (*rsa.PrivateKey, error) {
	broken := errors.New(`is a key file whose "private_key" is not an RSA key in PEM`)
	block, _ := pem.Decode([]byte(text))
	if block == nil || len(block.Bytes) > maxKey {
		return nil, broken
	}
	if parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		if key, ok := parsed.(*rsa.PrivateKey); ok {
			return key, nil
		}
		return nil, broken
	}
	// The errors of these parsers speak of bytes of the key; they stay here.
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	return nil, broken
}
