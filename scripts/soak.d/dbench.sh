# dbench: the calls of a file server's clients, all at once.
seconds=5 clients=4
[ "$SOAK_LENGTH" = short ] || { seconds=60; clients=16; }
dbench --timelimit="$seconds" --directory="$PWD" "$clients" >"$SOAK_SCRATCH/dbench"
! grep -iE 'error|failed' "$SOAK_SCRATCH/dbench"
grep '^Throughput' "$SOAK_SCRATCH/dbench"
