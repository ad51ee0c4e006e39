package redisstore_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keygate/proxy/auth"
	"keygate/proxy/auth/authtest"
	"keygate/tests/servers"
)

const page = "../../../docs/redis.md"

// documentedUser returns the words of the command that the documentation gives.
func documentedUser(t *testing.T) (args []any) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "ACL SETUSER ") {
			continue
		}
		for _, word := range strings.Fields(line) {
			args = append(args, word)
		}
		return args
	}
	t.Fatal(page + " gives no ACL SETUSER")
	return nil
}

func TestTheDocumentedUserMayDoAllThatIsNeeded(t *testing.T) {
	server := servers.StartRedis(t)
	operator := connect(t, server.URL())
	do(t, operator, documentedUser(t)...)
	do(t, operator, "set", "somebody:elses", "1")
	url := strings.Replace(server.URL(), "redis://", "redis://keygate:PASSWORD@", 1)
	a, b := join(t, config(t, url, "a", secret)), join(t, config(t, url, "b", secret))
	token := fill(t, a.Cache, "p")
	if released, err := a.Release(t.Context(), "p", token); err != nil || !released {
		t.Errorf("release: %v, %v", released, err)
	}
	expect(t, invalidate(t, a, authtest.Patience, auth.Scope{Prefixes: []string{"p"}}), 2, 2)
	expect(t, invalidate(t, b, authtest.Patience, auth.Scope{All: true}), 2, 2)
	a.stop()
	if n := do(t, operator, "zcard", "keygate:proxies"); n != int64(1) {
		t.Errorf("%v proxies are listed after one left", n)
	}
	err := connect(t, url).Get(t.Context(), "somebody:elses").Err()
	if err == nil || !strings.Contains(err.Error(), "NOPERM") {
		t.Errorf("the user reads other keys: %v", err)
	}
}

func TestRecordsAreSharedOverTLS(t *testing.T) {
	cert, key := selfSigned(t)
	port := strings.TrimPrefix(servers.FreeAddr(t), "127.0.0.1:")
	servers.StartRedis(t, "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert,
		"--tls-auth-clients", "no")
	a := join(t, config(t, "rediss://127.0.0.1:"+port+"?skip_verify=true", "a", secret))
	fill(t, a.Cache, "p")
	a.Await(t, 0, auth.Look, "p")
	distrusting := open(t, config(t, "rediss://127.0.0.1:"+port, "b", secret))
	if _, err := distrusting.Get(t.Context(), "p"); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate that nobody vouches for: %v", err)
	}
}

// selfSigned writes a certificate and its key, and returns their paths.
func selfSigned(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	for path, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}
