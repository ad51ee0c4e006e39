package memory

import (
	"math"
	"testing"
	"testing/fstest"
)

func TestTheLowestLimitCounts(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"no control groups": {nil, math.MaxInt64},
		"version 2, in a container": {map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "536870912\n",
		}, 512 << 20},
		"version 2, a unit in a slice": {map[string]string{
			"proc/self/cgroup": "0::/system.slice/writer.service\n",
			"sys/fs/cgroup/system.slice/writer.service/memory.max": "max\n",
			"sys/fs/cgroup/system.slice/memory.max":                "1073741824\n",
		}, 1 << 30},
		"version 1, the path outside of the container": {map[string]string{
			"proc/self/cgroup":                           "5:cpu,cpuacct:/docker/a\n4:memory:/docker/a\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "268435456\n",
		}, 256 << 20},
		"version 1, without a limit": {map[string]string{
			"proc/self/cgroup":                           "4:memory:/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, 9223372036854771712},
		"nonsense": {map[string]string{
			"proc/self/cgroup": "0::/\nx\n", "sys/fs/cgroup/memory.max": "many\n",
		}, math.MaxInt64},
	} {
		root := fstest.MapFS{}
		for path, text := range c.files {
			root[path] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := limitIn(root); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
