package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"keygate/shared/flags"
)

// adminTimeout is well above what the slowest answer takes: an invalidation waits 250 ms for other proxies, explain a
// second for the database.
const adminTimeout = 5 * time.Second

// admins are the admin listeners that a command talks to.
type admins struct {
	urls  []string
	token string
}

func (a *admins) flags(set *flags.Set) {
	a.urls = []string{"http://127.0.0.1:9080"}
	set.Strings("admin-url", &a.urls, "the proxy's admin listener, http://HOST:PORT or unix:PATH; several are asked in turn")
	set.Secret("admin-token", &a.token, "what the admin listener asks for")
}

// each asks every admin listener and hands the answers on. It goes on after an error and returns all of them.
func (a *admins) each(ctx context.Context, method, path string, body any, got func(url string, answer []byte) error) error {
	var errs []error
	for _, url := range a.urls {
		answer, err := a.ask(ctx, url, method, path, body)
		if err == nil {
			err = got(url, answer)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", url, err))
		}
	}
	return errors.Join(errs...)
}

func (a *admins) ask(ctx context.Context, url, method, path string, body any) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if socket, ok := strings.CutPrefix(url, "unix:"); ok {
		url = "http://localhost"
		client.Transport = &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", socket)
			},
		}
	}
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(url, "/")+path, content)
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if a.token != "" {
		request.Header.Set("Authorization", "Bearer "+a.token)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, errors.New("the admin listener does not answer: is the proxy running there?")
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return answer, refusal(response.Status, answer)
	}
	return answer, nil
}

// maxAnswer bounds what is read of somebody who may not be a proxy at all.
const maxAnswer = 1 << 20

// refusal says what an admin listener said, or its status if it was not understood.
func refusal(status string, answer []byte) error {
	var said struct{ Detail string }
	if json.Unmarshal(answer, &said) == nil && said.Detail != "" {
		return errors.New(said.Detail)
	}
	return errors.New("answered " + status)
}
