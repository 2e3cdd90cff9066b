# PostgreSQL with its data directory here: load, kill -9 of the server under load, recovery, and its own checksums.
seconds=6 scale=2
[ "$SOAK_LENGTH" = short ] || { seconds=60; scale=20; }
bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
user=postgres
id -u "$user" >/dev/null 2>&1 || user=nobody
as() { setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups env HOME="$SOAK_SCRATCH" LC_ALL=C "$@"; }
mkdir data "$SOAK_SCRATCH/socket"
chown "$user" data "$SOAK_SCRATCH/socket"
export PGHOST=$SOAK_SCRATCH/socket PGDATABASE=postgres PGDATA=$PWD/data
as "$bin/initdb" --data-checksums --auth=trust --username="$user" >/dev/null
cat >>data/postgresql.conf <<CONF
listen_addresses = ''
unix_socket_directories = '$PGHOST'
shared_buffers = 64MB
CONF
log=$SOAK_SCRATCH/postgresql.log
up() { as "$bin/pg_ctl" -w -t 120 -l "$log" start >/dev/null; }
sql() { as "$bin/psql" -U "$user" -qAtc "$1"; }
trap 'as "$bin/pg_ctl" -m immediate stop >/dev/null 2>&1 || true' EXIT
up
as "$bin/pgbench" -U "$user" -i -q -s "$scale" 2>/dev/null
# TPC-B keeps four sums equal; a lost or doubled half of a transaction makes them differ.
consistent() {
  local sums
  sums=$(sql 'select (select sum(abalance) from pgbench_accounts), (select sum(tbalance) from pgbench_tellers), (select sum(bbalance) from pgbench_branches), (select coalesce(sum(delta), 0) from pgbench_history)')
  [ "$(tr '|' '\n' <<<"$sums" | sort -u | wc -l)" = 1 ] || { echo "sums differ: $sums"; return 1; }
}
for crash in 1 2 3; do
  as "$bin/pgbench" -U "$user" -n -c 4 -j 2 -T "$seconds" >"$SOAK_SCRATCH/pgbench.$crash" 2>&1 &
  load=$!
  sleep $((seconds - 1))
  # What the server acknowledged by now has to be there after the crash.
  before=$(sql 'select count(*) from pgbench_history')
  postmaster=$(head -n 1 data/postmaster.pid)
  processes=("$postmaster" $(ps -o pid= --ppid "$postmaster"))
  kill -9 "${processes[@]}" 2>/dev/null || true
  wait "$load" || true
  for pid in "${processes[@]}"; do while [ -e "/proc/$pid" ]; do sleep 0.1; done; done
  rm -f data/postmaster.pid
  up
  consistent
  [ "$(sql 'select count(*) from pgbench_history')" -ge "$before" ]
done
as "$bin/pgbench" -U "$user" -n -c 4 -j 2 -T "$seconds" >"$SOAK_SCRATCH/pgbench.last"
consistent
sql 'vacuum full' && sql 'reindex database postgres' && consistent
as "$bin/pg_ctl" -w -m fast stop >/dev/null
as "$bin/pg_checksums" --check >"$SOAK_SCRATCH/checksums"
grep -qx 'Bad checksums:  0' "$SOAK_SCRATCH/checksums"
echo "3 crashes, $(grep -o 'tps = [0-9.]*' "$SOAK_SCRATCH/pgbench.last"), no bad checksum"
