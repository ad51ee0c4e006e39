package config

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
)

// DemoKeyFile is where a standalone keygate in this directory keeps the key of its demo organisation.
const DemoKeyFile = "./data/demo-key"

// ReadKeys returns the keys to send and, in words, where they come from.
func (t *Traffic) ReadKeys() (keys []string, origin string, err error) {
	switch {
	case t.Key != "":
		keys, origin = []string{t.Key}, "as given"
	case t.KeyFile != "":
		keys, err = keysIn(t.KeyFile)
		origin = t.KeyFile
		err = errors.Join(err, sentence(len(keys) > 1, "%s holds %d keys: that is for --keys", t.KeyFile, len(keys)))
	case t.KeysFile != "":
		keys, err = keysIn(t.KeysFile)
		origin = t.KeysFile
	default:
		keys, err = keysIn(DemoKeyFile)
		origin = DemoKeyFile
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("no key: give --key, --key-file or --keys (there is no %s either)", DemoKeyFile)
		}
	}
	if err != nil {
		return nil, "", err
	}
	for i, key := range keys {
		if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, "", fmt.Errorf("key %d holds a byte that no header may carry", i+1) // and not which key
		}
	}
	return keys, origin, nil
}

func keysIn(path string) ([]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var keys []string
	for lines := bufio.NewScanner(file); ; {
		if !lines.Scan() {
			err = lines.Err()
			break
		}
		if key := strings.TrimSpace(lines.Text()); key != "" {
			keys = append(keys, key)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return keys, sentence(len(keys) == 0, "%s holds no key", path)
}

// CheckHosts refuses a target or an admin listener on another machine, unless that is allowed.
func (o *Options) CheckHosts(ctx context.Context) error {
	if o.AllowRemote {
		return nil
	}
	urls, err := o.urls()
	if err != nil {
		return err
	}
	for _, u := range urls {
		found, err := net.DefaultResolver.LookupIPAddr(ctx, u.Hostname())
		if err != nil {
			return fmt.Errorf("looking up %q: %w", u.Hostname(), err)
		}
		for _, ip := range found {
			if !ip.IP.IsLoopback() {
				return fmt.Errorf("%s is not on this machine: give --allow-remote if it may be put under load", u.Hostname())
			}
		}
	}
	return nil
}
