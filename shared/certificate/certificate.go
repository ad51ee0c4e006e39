// Package certificate puts TLS on a listener, with a certificate that may be replaced while it is used.
//
// Whoever renews certificates replaces files, by writing, renaming or switching a symbolic link, and does not tell us. So
// the files are read again every second: what they say is compared rather than their times, which is right for all
// these ways and costs nothing.
package certificate

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// Config names the files. All fields must be set.
type Config struct {
	CertFile string // PEM: the certificate, and then those that lead to the authority
	KeyFile  string // PEM: its private key
	Logger   *slog.Logger
	Metrics  *Metrics
}

// Keeper keeps a certificate up to date. Connections that are open do not notice when it changes.
type Keeper struct {
	config  Config
	tls     *tls.Config
	current atomic.Pointer[tls.Certificate]

	// Of the goroutine that runs.
	seen, tried digest
}

// Open reads the certificate. Only Run notices when it is replaced.
func Open(cfg Config) (*Keeper, error) {
	k := &Keeper{config: cfg}
	k.tls = &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return k.current.Load(), nil
		},
	}
	files := k.read()
	k.seen, k.tried = files.digest(), files.digest()
	if err := k.use(files); err != nil {
		return nil, err
	}
	return k, nil
}

// interval is how often the files are read. A renewal comes weeks before it is needed.
const interval = time.Second

// Run looks for new certificates until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			k.look()
		}
	}
}

// look uses the files if they are new, and the same as a look earlier: nobody is in the middle of writing them.
func (k *Keeper) look() {
	files := k.read()
	now := files.digest()
	if now != k.seen {
		k.seen = now
		return
	}
	if now == k.tried {
		return
	}
	k.tried = now
	if err := k.use(files); err != nil {
		k.config.Metrics.refused.Inc()
		k.config.Logger.Error("the new TLS certificate cannot be used: keeping the old one",
			"error", err, "expires", k.current.Load().Leaf.NotAfter)
		return
	}
	k.config.Metrics.loaded.Inc()
	k.config.Logger.Info("using a new TLS certificate", "expires", k.current.Load().Leaf.NotAfter)
}

func (k *Keeper) use(files pair) error {
	if files.err != nil {
		return fmt.Errorf("reading the TLS certificate: %w", files.err)
	}
	certificate, err := tls.X509KeyPair(files.cert, files.key)
	if err != nil {
		return fmt.Errorf("reading the TLS certificate in %s and its key in %s: %w", k.config.CertFile, k.config.KeyFile, err)
	}
	k.current.Store(&certificate)
	k.config.Metrics.expiry.Set(float64(certificate.Leaf.NotAfter.Unix()))
	return nil
}

// pair is what the files hold at one moment.
type pair struct {
	cert, key []byte
	err       error
}

func (k *Keeper) read() (p pair) {
	if p.cert, p.err = os.ReadFile(k.config.CertFile); p.err == nil {
		p.key, p.err = os.ReadFile(k.config.KeyFile)
	}
	return p
}

// digest stands for a pair, so that no second copy of the key is kept.
type digest [3][sha256.Size]byte

func (p pair) digest() digest {
	return digest{sha256.Sum256(p.cert), sha256.Sum256(p.key), sha256.Sum256(fmt.Append(nil, p.err))}
}
