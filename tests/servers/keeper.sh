# Ends a server and removes its directory once the process that started it has closed our standard input, by will or by dying.
# Usage: keeper.sh DIRECTORY SIGNAL. Each line on standard input is the server's process id, 0 while it is not running.
directory=$1 signal=$2 pid=0
while read -r line; do pid=$line; done

# A zombie has ended; in a container, nobody may ever reap it.
running() { kill -0 "$pid" && ! grep -q '^State:.Z' "/proc/$pid/status"; }

if [ "$pid" != 0 ] && kill "-$signal" "$pid"; then
	kill -CONT "$pid"
	tries=100
	while running && [ "$tries" -gt 0 ]; do
		sleep 0.1
		tries=$((tries - 1))
	done
	kill -KILL "$pid"
fi 2>/dev/null

# A postmaster that was killed leaves a shared memory segment behind. Line 7 of its pid file names it.
if [ -f "$directory/data/postmaster.pid" ]; then
	segment=$(sed -n '7s/.* //p' "$directory/data/postmaster.pid")
	ipcrm -m "$segment" 2>/dev/null
fi
rm -rf -- "$directory"
