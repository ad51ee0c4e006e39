package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// crowd is clients whose waiting nobody measures. Together they send at a rate as long as answers come in time. They are in
// a process of their own: whoever measures what customers wait for must not wait for a turn behind them.
type crowd struct {
	cmd  *exec.Cmd
	in   io.Closer
	tell *json.Encoder
	hear *json.Decoder
}

// crowdPlan is what a crowd's process is told first; rates follow.
type crowdPlan struct {
	Proxies   []string // addresses
	Size      int      // clients to each
	Scattered bool     // they come from as many addresses as they are, and not from one
	Keys      keyKind
	Good      []string // keys
}

// crowdArgument has the program be a crowd.
const crowdArgument = "crowd"

// gather starts a crowd, which sends nothing yet.
func (f *fleet) gather(p crowdPlan) (*crowd, error) {
	for _, one := range f.proxies {
		p.Proxies = append(p.Proxies, one.addr)
	}
	c := &crowd{cmd: exec.Command(filepath.Join(f.Dir, "fleet"), crowdArgument)}
	c.cmd.Stderr = os.Stderr
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.in, c.tell, c.hear = in, json.NewEncoder(in), json.NewDecoder(out)
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	return c, c.tell.Encode(p)
}

// press has the crowd send at a rate in all until ctx ends, and returns how often each status was the answer; 0 is none.
func (c *crowd) press(ctx context.Context, rate float64) (answers map[int]int, err error) {
	if err := c.tell.Encode(rate); err != nil {
		return nil, err
	}
	<-ctx.Done()
	if err := c.tell.Encode(0); err != nil {
		return nil, err
	}
	return answers, c.hear.Decode(&answers)
}

// close ends the process.
func (c *crowd) close() error { return errors.Join(c.in.Close(), c.cmd.Wait()) }

// beCrowd is the process of a crowd.
func beCrowd(in io.Reader, out io.Writer) error {
	hear, tell := json.NewDecoder(in), json.NewEncoder(out)
	var plan crowdPlan
	if err := hear.Decode(&plan); err != nil {
		return err
	}
	all, err := newCallers(plan)
	if err != nil {
		return err
	}
	for {
		var rate float64
		if err := hear.Decode(&rate); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		enough := make(chan error, 1)
		go func() { enough <- hear.Decode(&rate) }()
		answers, err := all.press(rate, enough)
		if err := errors.Join(err, tell.Encode(answers)); err != nil {
			return err
		}
	}
}
