# git: clone, gc, fsck, worktrees, rebase, and commits from several processes at once.
commits=40 branches=4
[ "$SOAK_LENGTH" = short ] || { commits=300; branches=8; }
export HOME=$SOAK_SCRATCH GIT_CONFIG_GLOBAL=$SOAK_SCRATCH/gitconfig
git config --global user.name soak
git config --global user.email soak@localhost
git config --global init.defaultBranch main
git config --global advice.detachedHead false
git config --global core.fsync all

mkdir origin && cd origin
git init -q
cp -r /usr/include/linux source
git add . && git commit -qm 'the first'
for i in $(seq "$commits"); do
  seq "$i" $((i * 3)) >"numbers-$((i % 7))"
  echo "line $i" >>log
  git add . && git commit -qm "commit $i"
done
git branch topic HEAD~$((commits / 2))
git checkout -q topic
for i in $(seq 10); do echo "$i" >"topic-$i"; git add . && git commit -qm "topic $i"; done
git rebase -q main
[ "$(git rev-list --count main..topic)" = 10 ]
git checkout -q main && git merge -q --ff-only topic

pids=()
for b in $(seq "$branches"); do
  git worktree add -q "../tree$b" -b "branch$b"
  (cd "../tree$b" && for i in $(seq 10); do echo "$b $i" >>"by-$b"; git add . && git commit -qm "branch $b, $i"; done) &
  pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid"; done
git merge -q -m 'all branches' $(seq -f 'branch%.0f' "$branches")
for b in $(seq "$branches"); do [ "$(wc -l <"by-$b")" = 10 ]; git worktree remove "../tree$b"; done

git gc -q --prune=now
git fsck --strict --full
[ -z "$(git status --porcelain)" ]
cd .. && git clone -q origin local && git clone -q --no-local --depth 5 "file://$PWD/origin" shallow
diff -r --exclude=.git origin local
git -C local fsck --strict
git -C local gc -q --aggressive
[ "$(git -C local rev-parse HEAD)" = "$(git -C origin rev-parse HEAD)" ]
echo "$(git -C origin rev-list --all --count) commits, fsck clean"
