# fio --verify: what is read back is what was written, by plain calls, mmap, asynchronous and direct input and output.
size=24M runtime=3
[ "$SOAK_LENGTH" = short ] || { size=256M; runtime=40; }
job() { # name, then options
  local name=$1; shift
  fio --name="$name" --directory="$PWD" --size="$size" --verify=crc32c --verify_fatal=1 --do_verify=1 --verify_backlog=1024 --randseed="$RANDOM" \
    --numjobs=2 --group_reporting --minimal "$@" >"$SOAK_SCRATCH/fio.$name" 2>&1 || { cat "$SOAK_SCRATCH/fio.$name"; exit 1; }
  rm -f "$name".*
}
job plain --ioengine=psync --rw=randwrite --bs=4k
job uneven --ioengine=psync --rw=randrw --bsrange=512-128k --bs_unaligned=1
job synced --ioengine=psync --rw=write --bs=16k --fsync=32
job data-synced --ioengine=psync --rw=randwrite --bs=8k --fdatasync=16
job mapped --ioengine=mmap --rw=randwrite --bs=4k
job direct --ioengine=libaio --iodepth=16 --direct=1 --rw=randwrite --bs=4k
job direct-large --ioengine=libaio --iodepth=8 --direct=1 --rw=write --bs=1M
job vectors --ioengine=pvsync2 --rw=randrw --bs=32k
job allocated --ioengine=psync --rw=randwrite --bs=4k --fallocate=posix
job trimmed --ioengine=psync --rw=randwrite --bs=64k --fallocate=keep --sync=1 --io_size=8M
job mixed --ioengine=libaio --iodepth=32 --rw=randrw --bssplit=4k/60:64k/30:256k/10 --time_based --runtime="$runtime"
echo '11 kinds of jobs, two processes each, verified'
