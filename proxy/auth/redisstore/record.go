package redisstore

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"keygate/proxy/auth"
	"keygate/shared/trust"
)

// The one version of records there is.
const version = 1

// Labels keep a seal of one kind of message from being taken for another's.
var (
	recordLabel = []byte("keygate record 1")
	busLabel    = []byte("keygate bus 1")
)

// wire is a value of ours: a lease, or a record. Times are Unix milliseconds.
type wire struct {
	V          int       `json:"v"`
	Lease      string    `json:"lease,omitempty"`
	Fill       string    `json:"fill,omitempty"`
	FilledAt   int64     `json:"filled_at,omitempty"`
	ReadAt     int64     `json:"read_at,omitempty"`
	FreshUntil int64     `json:"fresh_until,omitempty"`
	Keys       []wireKey `json:"keys,omitempty"`
	Mac        string    `json:"mac,omitempty"`
}

type wireKey struct {
	OrgID      string `json:"org_id"`
	Hash       string `json:"hash"`
	Alg        string `json:"alg"`
	Enabled    bool   `json:"enabled"`
	OrgEnabled bool   `json:"org_enabled"`
	ExpiresAt  *int64 `json:"expires_at,omitempty"` // absent: never
}

// codec turns records into values and back.
type codec struct {
	secrets *trust.Secrets
	maxTTL  time.Duration // no record is believed fresh longer than this after the source was read
}

// errNotOurs marks a value of version 1 that cannot be a record of ours.
var errNotOurs = errors.New("not a record of ours")

// A record's clock may be ahead of the reader's by this: after a fail-over the time is another machine's.
const clockSlack = 5 * time.Second

// encode returns the value of rec under key.
func (c codec) encode(key string, rec *auth.Record) ([]byte, error) {
	w := wire{
		V: version, Fill: rec.Fill, FilledAt: rec.FilledAt, ReadAt: rec.ReadAt, FreshUntil: rec.FreshUntil,
		Keys: make([]wireKey, len(rec.Keys)),
	}
	for i := range rec.Keys {
		k := &rec.Keys[i]
		if err := auth.CheckOrgID(k.OrgID); err != nil {
			return nil, err
		}
		w.Keys[i] = wireKey{
			OrgID: k.OrgID, Hash: hex.EncodeToString(k.Hash[:]), Alg: k.Alg.String(),
			Enabled: k.Enabled, OrgEnabled: k.OrgEnabled,
		}
		if !k.ExpiresAt.IsZero() {
			ms := k.ExpiresAt.UnixMilli()
			w.Keys[i].ExpiresAt = &ms
		}
	}
	body, err := json.Marshal(&w)
	if err != nil || !c.secrets.Held() {
		return body, err
	}
	mac := c.secrets.Seal(recordLabel, []byte(key), body)
	w.Mac = hex.EncodeToString(mac[:])
	return json.Marshal(&w)
}

// decode says what value under key is, and for a record what it holds. A record that is not ours is auth.Forged, and
// the error tells why.
func (c codec) decode(key, value string, now int64) (auth.State, auth.Record, error) {
	var w wire
	err := json.Unmarshal([]byte(value), &w)
	var mistyped *json.UnmarshalTypeError // the other members have been read all the same
	if err != nil && !errors.As(err, &mistyped) || w.V != version {
		return auth.Foreign, auth.Record{}, nil
	}
	if err == nil && w.Lease != "" && w.Fill == "" {
		return auth.Leased, auth.Record{}, nil
	}
	if err != nil {
		return auth.Forged, auth.Record{}, errNotOurs
	}
	rec, err := w.record()
	if err == nil {
		err = c.verify(key, w)
	}
	if err == nil && rec.FilledAt > now+clockSlack.Milliseconds() {
		err = fmt.Errorf("%w: filled in the future", errNotOurs)
	}
	if err != nil {
		return auth.Forged, auth.Record{}, err
	}
	rec.FreshUntil = min(rec.FreshUntil, rec.ReadAt+c.maxTTL.Milliseconds())
	return auth.Held, rec, nil
}

// verify checks the seal over what encode would write for the same record. Without a secret it cannot.
func (c codec) verify(key string, w wire) error {
	if !c.secrets.Held() {
		return nil
	}
	mac, err := hex.DecodeString(w.Mac)
	if err != nil {
		return errNotOurs
	}
	w.Mac = ""
	body, err := json.Marshal(&w)
	if err != nil || !c.secrets.Sealed(mac, recordLabel, []byte(key), body) {
		return fmt.Errorf("%w: wrong seal", errNotOurs)
	}
	return nil
}

// record returns what w holds, if it is complete.
func (w *wire) record() (auth.Record, error) {
	rec := auth.Record{Fill: w.Fill, FilledAt: w.FilledAt, ReadAt: w.ReadAt, FreshUntil: w.FreshUntil}
	if w.Fill == "" || w.Lease != "" || w.FilledAt <= 0 || w.ReadAt <= 0 || len(w.Keys) == 0 {
		return rec, errNotOurs
	}
	rec.Keys = make([]auth.Key, len(w.Keys))
	for i := range w.Keys {
		if err := w.Keys[i].key(&rec.Keys[i]); err != nil {
			return rec, fmt.Errorf("%w: %w", errNotOurs, err)
		}
	}
	return rec, nil
}

func (w *wireKey) key(k *auth.Key) (err error) {
	*k = auth.Key{OrgID: w.OrgID, Enabled: w.Enabled, OrgEnabled: w.OrgEnabled}
	if err := auth.CheckOrgID(w.OrgID); err != nil {
		return err
	}
	if k.Alg, err = auth.ParseAlg(w.Alg); err != nil {
		return err
	}
	if len(w.Hash) != hex.EncodedLen(len(k.Hash)) {
		return errNotOurs
	}
	if _, err := hex.Decode(k.Hash[:], []byte(w.Hash)); err != nil {
		return err
	}
	if w.ExpiresAt != nil {
		k.ExpiresAt = time.UnixMilli(*w.ExpiresAt).UTC()
	}
	return nil
}
