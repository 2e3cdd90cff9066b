# stress-ng: its file-system stressors one after another, each with --verify.
seconds=2
[ "$SOAK_LENGTH" = short ] || seconds=20
# Left out: those that need what no FUSE file system has (verity, inode flags, file handles of the kernel's own),
# and those that do not touch the directory they are given.
stressors=(access chdir chmod chown copy-file dentry dir dirdeep dirmany dup fallocate fcntl file-ioctl filename flock fpunch fstat
  hdd io iomix lease link locka lockf lockofd metamix mknod msync open pseek rename revio seek sendfile splice symlink sync-file
  touch unlink utime xattr aio fsize)
[ "$SOAK_LENGTH" = long ] || stressors=(chmod copy-file dentry fallocate flock fpunch hdd iomix link locka lockofd msync open rename seek symlink utime xattr)
known=$(stress-ng --help)
failed=()
for stressor in "${stressors[@]}"; do
  grep -q -- "--$stressor N" <<<"$known" || continue
  stress-ng "--$stressor" 2 --timeout "${seconds}s" --verify --temp-path "$PWD" --hdd-bytes 64M --fallocate-bytes 64M --iomix-bytes 64M --copy-file-bytes 128M --seek-size 32M --sync-file-bytes 32M \
    >"$SOAK_SCRATCH/stress.$stressor" 2>&1 || failed+=("$stressor")
  if grep -q 'fail:' "$SOAK_SCRATCH/stress.$stressor"; then failed+=("$stressor"); fi
done
for stressor in $(printf '%s\n' "${failed[@]}" | sort -u); do echo "== $stressor"; grep -E 'fail|error|abort' "$SOAK_SCRATCH/stress.$stressor" | head -n 5; done
[ ${#failed[@]} = 0 ]
echo "${#stressors[@]} stressors, $seconds s each, all verified"
