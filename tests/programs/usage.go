package programs

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of CPU time in /proc, which Linux fixes at 100 a second towards programs.
const clockTick = 10 * time.Millisecond

// stat is what /proc tells of one process.
type stat struct {
	parent int
	cpu    time.Duration // its own, and that of its children that have ended
}

// CPU returns the CPU time that the part has used so far.
func (p Part) CPU() (time.Duration, error) {
	all, err := processes()
	if err != nil {
		return 0, err
	}
	own, alive := all[p.PID]
	switch {
	case !alive:
		return 0, fmt.Errorf("process %d has ended", p.PID)
	case p.Alone:
		return own.cpu, nil
	}
	var sum time.Duration
	for id, s := range all {
		if descends(all, id, p.PID) {
			sum += s.cpu
		}
	}
	return sum, nil
}

// RSS returns the memory of a process alone that is in RAM, in bytes.
func RSS(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0, fmt.Errorf("/proc/%d/statm has %d fields", pid, len(fields))
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

func descends(all map[int]stat, id, from int) bool {
	for id != from {
		s, known := all[id]
		if !known || id == s.parent {
			return false
		}
		id = s.parent
	}
	return true
}

func processes() (map[int]stat, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(paths) == 0 {
		return nil, fmt.Errorf("CPU time is read from /proc, which only Linux has: %w", err)
	}
	all := make(map[int]stat, len(paths))
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended meanwhile
		}
		id, s, err := parseStat(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all[id] = s
	}
	return all, nil
}

// parseStat reads a line of proc(5). The name, in parentheses, may hold anything.
func parseStat(line string) (id int, s stat, err error) {
	before, _, _ := strings.Cut(line, " ")
	if id, err = strconv.Atoi(before); err != nil {
		return 0, stat{}, err
	}
	fields := strings.Fields(line[strings.LastIndexByte(line, ')')+1:])
	const parent, firstTime, lastTime = 1, 11, 14 // utime, stime, cutime, cstime
	if len(fields) <= lastTime {
		return 0, stat{}, fmt.Errorf("%d fields after the name", len(fields))
	}
	if s.parent, err = strconv.Atoi(fields[parent]); err != nil {
		return 0, stat{}, err
	}
	for _, field := range fields[firstTime : lastTime+1] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, stat{}, err
		}
		s.cpu += time.Duration(ticks) * clockTick
	}
	return id, s, nil
}
