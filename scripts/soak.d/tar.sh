# tar --acls --xattrs, in and out: every attribute that find, getfacl and getfattr can name is as before.
cp -a /usr/include/linux tree
cd tree
for i in $(seq 50); do
  echo "$i" >"acl$i"
  setfacl -m "u:$((1000 + i)):rw,g:$((2000 + i)):r,m::rwx" "acl$i"
  setfattr -n user.number -v "$i" "acl$i"
  setfattr -n trusted.number -v "$i" "acl$i"
done
mkdir inherit && setfacl -d -m u:1234:rwx,o::- inherit && echo inherited >inherit/child
[ "$(getfacl -cp inherit/child | grep -c '^user:1234:rwx')" = 1 ]
ln acl1 hard1 && ln -s acl1 soft1 && mkfifo fifo && truncate -s 5M hole
touch -d '2001-02-03 04:05:06.789012345' acl2
chmod 6711 acl3
cd ..
describe() { # everything of a tree, one line an entry
  (cd "$1" && find . -printf '%p %y %m %U %G %n %s %T@ %l\n' | sort && getfacl -Rcpn . && getfattr -Rd -m - --absolute-names . | sort)
}
tar --acls --xattrs --xattrs-include='*' -S -cf all.tar tree
mkdir out && tar --acls --xattrs --xattrs-include='*' -S -xpf all.tar -C out
# The size of a directory is the file system's own business.
describe tree | sed -E '/ d [0-9]+ /s/^(.* d [0-9]+ [0-9]+ [0-9]+ [0-9]+) [0-9]+/\1/' >before
describe out/tree | sed -E '/ d [0-9]+ /s/^(.* d [0-9]+ [0-9]+ [0-9]+ [0-9]+) [0-9]+/\1/' >after
diff before after
tar -df all.tar
for round in $(seq 3); do tar -cf - tree | (mkdir "round$round" && tar -xf - -C "round$round") && diff -r --no-dereference --exclude=fifo tree "round$round/tree"; done
echo "$(wc -l <before) lines of attributes, the same"
