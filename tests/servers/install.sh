#!/bin/sh
# Makes sure that what the tests start is installed: silent if it is; as root on Debian it installs it; elsewhere it prints
# the command to type and fails. With the argument `all` it also looks for what the long tests need.
set -eu

missing=
command -v redis-server >/dev/null || missing="redis-server"
command -v curl >/dev/null || missing="$missing curl"
if [ "${1:-}" = all ]; then
	for program in nginx haproxy caddy pgbouncer wrk; do
		command -v $program >/dev/null || [ -x /usr/sbin/$program ] || missing="$missing $program"
	done
	for module in fastapi uvicorn uvloop httptools asyncpg sqlalchemy redis yaml; do
		/usr/bin/python3 -c "import $module" 2>/dev/null || missing="$missing python3-$module"
	done
fi
# Debian keeps the PostgreSQL server out of PATH. An unmatched pattern stays as it is and names no file.
found=
for program in "$(command -v postgres || true)" /usr/lib/postgresql/*/bin/postgres /usr/pgsql-*/bin/postgres; do
	if [ -x "$program" ]; then found=yes; fi
done
[ -n "$found" ] || missing="$missing postgresql"
[ -n "$missing" ] || exit 0

echo "The tests start real programs of their own, and these are not installed: $missing" >&2

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
	command="sudo dnf install postgresql-server redis curl"
elif command -v pacman >/dev/null; then
	command="sudo pacman -S postgresql redis curl"
elif command -v brew >/dev/null; then
	command="brew install postgresql redis"
else
	echo "Install them so that they are in PATH, then try again." >&2
	exit 1
fi
echo "Type this, then try again:" >&2
echo "    $command" >&2
exit 1
