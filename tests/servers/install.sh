#!/bin/sh
# Makes sure that the servers of the tests are installed: silent if they are; as root on Debian it installs them; elsewhere
# it prints the command to type and fails.
set -eu

missing=
command -v redis-server >/dev/null || missing="redis-server"
# Debian keeps the PostgreSQL server out of PATH. An unmatched pattern stays as it is and names no file.
found=
for program in "$(command -v postgres || true)" /usr/lib/postgresql/*/bin/postgres /usr/pgsql-*/bin/postgres; do
	if [ -x "$program" ]; then found=yes; fi
done
[ -n "$found" ] || missing="$missing postgresql"
[ -n "$missing" ] || exit 0

echo "The tests start real servers of their own, and these are not installed: $missing" >&2

if command -v apt-get >/dev/null; then
	if [ "$(id -u)" = 0 ]; then
		echo "Installing them with apt-get. Their services are not started." >&2
		apt-get update
		# In run level 1 Debian's packages start no service.
		RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
		exit 0
	fi
	command="sudo apt-get install --no-install-recommends $missing"
elif command -v dnf >/dev/null; then
	command="sudo dnf install postgresql-server redis"
elif command -v pacman >/dev/null; then
	command="sudo pacman -S postgresql redis"
elif command -v brew >/dev/null; then
	command="brew install postgresql redis"
else
	echo "Install both so that redis-server and postgres are in PATH, then try again." >&2
	exit 1
fi
echo "Type this, then try again:" >&2
echo "    $command" >&2
exit 1
