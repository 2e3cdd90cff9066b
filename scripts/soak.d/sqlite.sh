# SQLite: several writers in each journal mode, some of them killed in the middle; every transaction that was
# acknowledged is there, and integrity_check finds nothing.
writers=3 rounds=30
[ "$SOAK_LENGTH" = short ] || { writers=6; rounds=400; }

writer() { # database, name, rounds: prints the number of each transaction that was committed
  for i in $(seq "$3"); do
    sqlite3 -cmd '.timeout 60000' "$1" "begin immediate; insert into entry(writer, number, filler) values ('$2', $i, randomblob(abs(random()) % 3000)); update total set n = n + 1; commit;" && echo "$i"
  done
}
victims() { # database: writers that die with a transaction half written
  for _ in $(seq 5); do
    sleep 0.3
    sqlite3 "$1" <<'SQL' 2>/dev/null || true
.timeout 60000
pragma cache_size = 10;
begin immediate;
update total set n = n + 1000000;
insert into entry select 'victim', number, randomblob(5000) from entry limit 500;
.shell kill -9 $PPID
SQL
  done
}
for mode in wal delete truncate persist; do
  db=$PWD/$mode.db
  sqlite3 "$db" "pragma journal_mode=$mode; pragma synchronous=full; create table entry(writer, number, filler); create table total(n); insert into total values (0); create index by_writer on entry(writer, number);" >/dev/null
  pids=()
  for w in $(seq "$writers"); do writer "$db" "w$w" "$rounds" >"$SOAK_SCRATCH/$mode.$w" & pids+=($!); done
  victims "$db" & pids+=($!)
  for pid in "${pids[@]}"; do wait "$pid"; done
  sqlite3 -cmd '.timeout 60000' "$db" 'pragma integrity_check' | grep -qx ok
  acknowledged=$(cat "$SOAK_SCRATCH/$mode".* | wc -l)
  stored=$(sqlite3 "$db" "select count(*) || ' ' || (select n from total) from entry")
  [ "$acknowledged" = $((writers * rounds)) ] && [ "$stored" = "$acknowledged $acknowledged" ] || { echo "$mode: $acknowledged acknowledged, stored: $stored"; exit 1; }
  sqlite3 "$db" 'vacuum' && sqlite3 "$db" 'pragma integrity_check' | grep -qx ok
done
echo "$((writers * rounds)) transactions in each of 4 journal modes"
