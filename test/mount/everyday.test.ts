// Ordinary programs on a mount: cp, rsync, tar, git, SQLite, a compiler, find, du, df.
import { existsSync } from 'node:fs';
import { expect, it } from 'vitest';
import { describeOnEdges } from '../support/edges.ts';
import { hasProgram } from '../support/programs.ts';

/** A tree of an ordinary kind that every machine has: thousands of small files, links, some large ones. */
const TREE = ['/usr/include/linux', '/usr/share/doc', '/usr/lib/node_modules', '/etc'].find((path) => existsSync(path)) ?? '/etc';

describeOnEdges('ordinary programs', {}, (mount, needs) => {
  it('cp -a copies a tree that diff finds equal', async () => {
    await mount().sh(`cp -a ${TREE} copied && diff -r --no-dereference ${TREE} copied`);
  });

  it.skipIf(!hasProgram('rsync'))('rsync -a finds nothing to do the second time', async () => {
    await mount().sh(`mkdir rsynced && rsync -aH ${TREE}/ rsynced/`);
    expect(await mount().sh(`rsync -aHi ${TREE}/ rsynced/`)).toBe('');
  });

  it.skipIf(!hasProgram('rsync'))('rsync keeps owners, modes, nanosecond times and links', async (context) => {
    needs(context, 'nanoseconds');
    await mount().sh(`
      mkdir ../plain && cd ../plain
      echo one >one && ln one hard && ln -s one soft && mkdir dir && touch -h -d '2001-02-03 04:05:06.123456789' one soft dir
      chmod 4751 one && chown 1234:5678 one && chmod 2770 dir
      touch -d '2001-02-03 04:05:06.123456789' .
      rsync -aH ./ ../mnt/kept/
    `);
    // Sizes and link counts of directories are the file system's own.
    const list = "find . ! -type d -printf '%P %y %m %U %G %n %s %T@ %l\\n' -o -printf '%P %y %m %U %G %T@\\n' | sort";
    expect(await mount().sh(`cd kept && ${list}`)).toBe(await mount().sh(`cd ../plain && ${list}`));
  });

  it('tar gives back what it packed', async (context) => {
    needs(context, 'one time alone');
    await mount().sh(`
      tar cf ../tree.tar -C ${TREE} .
      mkdir untarred && tar xf ../tree.tar -C untarred
      tar df ../tree.tar -C untarred
    `);
  });

  it.skipIf(!hasProgram('git'))('git makes, clones, checks and reads a repository', async () => {
    const env = { ...mount().env, HOME: mount().root, GIT_CONFIG_NOSYSTEM: '1' };
    await mount().sh(
      `
      git config --global user.email test@example.org && git config --global user.name test && git config --global init.defaultBranch main
      mkdir repository && cd repository && git init -q
      for n in 1 2 3 4 5 6 7 8; do mkdir -p d$n; seq $n 500 >d$n/numbers; cp d$n/numbers f$n; git add . && git commit -qm "commit $n"; done
      cd .. && git clone -q repository cloned && git clone -q --bare repository bare.git
      cd cloned && git fsck --full --strict && test -z "$(git status --porcelain)"
      git mv f1 renamed && git commit -qm moved && git gc -q --aggressive && git push -q ../bare.git HEAD:main
      cd ../bare.git && git fsck --full && test "$(git log --oneline main | wc -l)" = 9
    `,
      { env },
    );
  });

  it.skipIf(!hasProgram('sqlite3'))('SQLite in WAL mode keeps a consistent database under two writers', async () => {
    await mount().sh(`
      test "$(sqlite3 db 'PRAGMA journal_mode=WAL; CREATE TABLE t(writer, n);')" = wal
      writer() { for n in $(seq 60); do echo "PRAGMA busy_timeout=20000; BEGIN IMMEDIATE; INSERT INTO t VALUES($1, $n); COMMIT;"; done | sqlite3 db >/dev/null; }
      writer 1 & first=$!
      writer 2 & second=$!
      wait $first && wait $second
      test "$(sqlite3 db 'SELECT count(*) FROM t')" = 120
      test "$(sqlite3 db 'PRAGMA integrity_check')" = ok
      sqlite3 db 'PRAGMA wal_checkpoint(TRUNCATE); VACUUM;' >/dev/null
      test "$(sqlite3 db 'SELECT count(DISTINCT n) FROM t')" = 60
    `);
  });

  it.skipIf(!hasProgram('gcc'))('a C program is compiled, linked and run', async () => {
    await mount().sh(`
      mkdir compiled && cd compiled
      printf '#include <stdio.h>\\nint twice(int);\\nint main(void) { printf("%%d\\\\n", twice(21)); return 0; }\\n' >main.c
      printf 'int twice(int n) { return 2 * n; }\\n' >twice.c
      gcc -O2 -c main.c && gcc -O2 -c twice.c && gcc -o program main.o twice.o
      test "$(./program)" = 42
    `);
  });

  it('npm installs a package from a directory, and node loads it from the mount', async () => {
    await mount().sh(
      `
      mkdir -p project/library && cd project
      echo '{"name":"library","version":"1.0.0"}' >library/package.json && echo 'module.exports = 42' >library/index.js
      echo '{"name":"project","version":"1.0.0","dependencies":{"library":"file:library"}}' >package.json
      npm install --offline --no-audit --no-fund --loglevel=error >/dev/null 2>&1
      rm -rf node_modules && npm ci --offline --no-audit --no-fund --loglevel=error >/dev/null 2>&1
      test "$(node -p 'require("library")')" = 42
    `,
      { env: { ...mount().env, HOME: mount().root } },
    );
  });

  it('find sees the files that cp made, and rm -rf removes them all', async () => {
    const list = "find . -type f -printf '%P %s\\n' | sort";
    await mount().sh(`cp -a ${TREE} seen`);
    expect(await mount().sh(`cd seen && ${list}`)).toBe(await mount().sh(`cd ${TREE} && ${list}`));
    await mount().sh('rm -rf seen && test ! -e seen');
  });

  it('du counts the bytes that a file takes, and none for its holes', async () => {
    await mount().sh(`
      head -c 3000000 /dev/urandom >dense && truncate -s 100M hollow && sync dense hollow
      test "$(du -k dense | cut -f1)" -ge 2900 && test "$(du -k dense | cut -f1)" -le 3200
      test "$(du -k hollow | cut -f1)" -le 4
    `);
  });
});
