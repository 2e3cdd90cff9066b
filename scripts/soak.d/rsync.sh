# rsync -aHAX of a tree with links, ACLs and attributes: a second run finds nothing to do, and checksums agree.
mkdir source
cp -a /usr/share/perl "source/" 2>/dev/null || cp -a /usr/include source/
[ "$SOAK_LENGTH" = short ] || cp -a /usr/include /usr/share/doc source/
cd source
mkdir special && cd special
echo one >file && ln file hard && ln -s file soft && ln -s /nowhere dangling && mkfifo fifo
mknod null c 1 3
truncate -s 10M sparse && echo end >>sparse
printf 'x' >"$(printf 'any\x01\xff\nbyte')"
touch -d '1969-12-31 23:59:58.123456789 UTC' early
touch -d '2100-01-01 00:00:00.987654321 UTC' late
chmod 4755 file && chown 1234:5678 hard
setfacl -m u:4321:r,g:8765:rw file
setfacl -d -m u:4321:rwx .
setfattr -n user.colour -v blue file
setfattr -n trusted.secret -v 0x00ff00 file
cd ../..
rsync -aHAX --sparse source/ copy/
[ -z "$(rsync -aHAXi --delete source/ copy/)" ]
[ -z "$(rsync -aHAXci --delete source/ copy/)" ]
[ "$(stat -c %h copy/special/file)" = 2 ]
[ "$(stat -c %b copy/special/sparse)" -lt 1000 ]
[ "$(stat -c '%.9Y' copy/special/early)" = "$(stat -c '%.9Y' source/special/early)" ]
# Back to a local file system and again: what it holds is what was written.
rsync -aHAX source/ "$SOAK_SCRATCH/rsync/"
[ -z "$(rsync -aHAXci --delete "$SOAK_SCRATCH/rsync/" copy/)" ]
find copy -type f -name "*a*" | while read -r file; do echo >>"$file"; done
rsync -aHAX --delete --inplace source/ copy/
[ -z "$(rsync -aHAXci --delete source/ copy/)" ]
rm -rf "$SOAK_SCRATCH/rsync"
echo "$(find copy | wc -l) entries, twice the same"
