package redisstore

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/redis/go-redis/v9"

	"keygate/proxy/auth"
)

// The kinds of message.
const (
	kindRemove  = "remove"
	kindConfirm = "confirm" // of a remove, to who sent it
	kindEcho    = "echo"    // to oneself
)

// message is what proxies tell each other. On the wire it is JSON, preceded by the hex of its seal if there is a
// secret.
type message struct {
	Kind     string   `json:"kind"`
	From     string   `json:"from"`
	ID       string   `json:"id,omitempty"`   // of the invalidation
	Part     int      `json:"part,omitempty"` // of the invalidation, from 0
	Prefixes []string `json:"prefixes,omitempty"`
	All      bool     `json:"all,omitempty"`
}

// encode returns m for channel, sealed if there is a secret. The seal covers the channel too.
func (c *Cache) encode(channel string, m message) (string, error) {
	body, err := json.Marshal(m)
	if err != nil || !c.cfg.Secrets.Held() {
		return string(body), err
	}
	seal := c.cfg.Secrets.Seal(busLabel, []byte(channel), body)
	return hex.EncodeToString(seal[:]) + string(body), nil
}

// decode reads what came on channel. A proxy without a secret takes sealed messages too, so that a secret can be
// introduced to a fleet one proxy at a time; those that have it distrust the others meanwhile.
func (c *Cache) decode(channel, payload string) (m message, ok bool) {
	at := max(strings.IndexByte(payload, '{'), 0)
	body := []byte(payload[at:])
	if c.cfg.Secrets.Held() {
		seal, err := hex.DecodeString(payload[:at])
		if err != nil || !c.cfg.Secrets.Sealed(seal, busLabel, []byte(channel), body) {
			return m, false
		}
	}
	return m, json.Unmarshal(body, &m) == nil
}

// publish sends messages to channel in one round trip.
func (c *Cache) publish(ctx context.Context, channel string, messages ...message) error {
	return c.tell(ctx, "publish", func(ctx context.Context) error {
		_, err := c.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for _, m := range messages {
				payload, err := c.encode(channel, m)
				if err != nil {
					return err
				}
				pipe.Publish(ctx, channel, payload)
			}
			return nil
		})
		return err
	})
}

// received acts on a message of another proxy, or of our own.
func (c *Cache) received(ctx context.Context, channel, payload string) {
	m, ok := c.decode(channel, payload)
	switch {
	case !ok:
		c.metrics.distrusted.Inc()
	case m.Kind == kindRemove && m.From != c.cfg.ProxyID:
		c.obey(ctx, m)
	case m.Kind == kindConfirm:
		c.inbox.confirmed(m)
	}
}

// obey removes what another proxy asks to remove, and then confirms. Our own messages come back to us too: Invalidate
// has removed already.
func (c *Cache) obey(ctx context.Context, m message) {
	// All are removed because the floor rose. Learning it removes them, and the next heartbeat will not do so once more.
	if !m.All || c.learnFloor(ctx) != nil {
		c.outlet.remove(auth.Scope{Prefixes: m.Prefixes, All: m.All})
	}
	select {
	case c.acks <- m:
	default: // whoever asked sees that we did not confirm
	}
}

// A confirmation that cannot be sent at once is worth little: who asked waits a quarter of a second.
const ackQueue = 1024

// sendConfirmations confirms removals until ctx ends. It has a goroutine of its own, so that a slow PUBLISH does not
// hold up what comes next on the bus.
func (c *Cache) sendConfirmations(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-c.acks:
			// If it is lost, whoever asked reports us as unconfirmed, which is true as far as anybody can know.
			_ = c.publish(ctx, c.names.mailbox(m.From), message{Kind: kindConfirm, From: c.cfg.ProxyID, ID: m.ID, Part: m.Part})
		}
	}
}
