package notify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// verify is the example of docs/notifications.md, to the letter.
func verify(secret, header string, body []byte, now time.Time) error {
	stamp, signature, _ := strings.Cut(strings.TrimPrefix(header, "t="), ",v1=")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return fmt.Errorf("the signature is not of now")
	}
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(stamp + "."))
	h.Write(body)
	got, err := hex.DecodeString(signature)
	if err != nil || !hmac.Equal(got, h.Sum(nil)) {
		return fmt.Errorf("the signature is wrong")
	}
	return nil
}
