// Locks by real programs: the same scenarios on the local file system, and on sdfs with the kernel's locks and with its own.
import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { describeOnMount } from '../support/mount.ts';
import type { TestMount } from '../support/mount.ts';
import { hasProgram, until } from '../support/programs.ts';
import { forEachFileSystem } from './where.ts';

const SCENARIOS: readonly (readonly [name: string, fact: string])[] = [
  ['conflict', 'stand against those of other processes, byte by byte'],
  ['ranges', 'split, grow and change their mode, and F_GETLK shows them'],
  ['far-away', 'are exact at offsets that no number holds'],
  ['upgrade', 'are upgraded when the other readers are gone, and kept until then'],
  ['deadlock', 'that three processes want in a circle are refused with EDEADLK'],
  ['interrupted', 'are not waited for after a signal, unless the call is restarted'],
  ['closed', 'of a process go when it closes any of its descriptors'],
  ['killed', 'of a killed process go to those who wait, and who waits can be killed'],
  ['forked', 'are not inherited (POSIX), or shared with the child (flock)'],
  ['executed', 'stay over execve'],
  ['whole-file', 'of whole files are shared, changed, waited for, and go with the last descriptor'],
  ['independent', 'of flock and fcntl do not see each other'],
  ['open-files', 'of open files stand against each other in one process and go with the last descriptor'],
  ['open-files-wait-for-ever', 'of open files may be wanted in a circle: a signal ends that'],
  ['removed', 'of a removed file are not those of its successor'],
];
const WAITERS = 1000;

const programs = mkdtempSync(join(tmpdir(), 'sdfs-locks-program-'));
const program = join(programs, 'locks');
beforeAll(() => {
  if (hasProgram('gcc')) execFileSync('gcc', ['-O1', '-o', program, new URL('locks.c', import.meta.url).pathname], { stdio: 'inherit' });
});
afterAll(() => { rmSync(programs, { recursive: true, force: true }); });

/** A program that says how far it is; it ends when its input does. */
class Talking {
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | null>;
  #output = '';

  constructor(args: readonly string[], mount: TestMount) {
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'], env: mount.env, detached: true });
    this.#child.stdout!.on('data', (chunk: Buffer) => { this.#output += chunk.toString(); });
    this.#ended = new Promise((resolve) => { this.#child.once('close', resolve); });
  }

  said(text: string): Promise<void> {
    return until(`"${text}"`, () => this.#output.includes(text), 60_000);
  }

  /** Rejects when it fails. Resolves with all that it said. */
  async end(): Promise<string> {
    this.#child.stdin!.end();
    const code = await this.#ended;
    if (code !== 0) throw new Error(`${program} ended with ${code}; it said ${this.#output}`);
    return this.#output;
  }
}

function scenarios(run: (args: readonly string[]) => Promise<{ code: number; stderr: string }>, path: (name: string) => string): void {
  it.each(SCENARIOS)('locks (%s) %s', async (name) => {
    expect(await run([name, path(`locks-${name}`)])).toMatchObject({ code: 0, stderr: '' });
  });
}

async function createFiles(mount: TestMount, name: string): Promise<void> {
  await mount.sh(`mkdir ${name}; for n in $(seq 300); do echo $n > ${name}/$n; done; test $(cat ${name}/* | wc -l) = 300; rm -r ${name}`);
}

const sqlite = (journal: string, name: string): string => `
  sqlite3 ${name} 'PRAGMA journal_mode=${journal}; CREATE TABLE t(writer, n);' >/dev/null
  writer() { for n in $(seq 25); do echo "PRAGMA busy_timeout=50000; BEGIN IMMEDIATE; INSERT INTO t VALUES($1, $n); COMMIT;"; done | sqlite3 ${name} >/dev/null; }
  writer 1 & one=$!; writer 2 & two=$!; writer 3 & three=$!; writer 4 & four=$!
  wait $one; wait $two; wait $three; wait $four
  test "$(sqlite3 ${name} 'SELECT count(*) FROM t')" = 100
  test "$(sqlite3 ${name} 'PRAGMA integrity_check')" = ok`;

describe.skipIf(!hasProgram('gcc'))(hasProgram('gcc') ? 'programs' : 'programs (gcc is not installed)', () => {
  forEachFileSystem((fs) => {
    scenarios((args) => fs.run(program, args), (name) => fs.path(name));
  });

  describeOnMount('on sdfs with locks=sdfs', { mountOptions: 'locks=sdfs' }, (mount) => {
    scenarios((args) => mount().run(program, args), (name) => mount().path(name));

    it('locks are all gone when their programs are', async () => {
      await until('no locks', async () => {
        const { locks } = await mount().status();
        return locks?.held === 0 && locks.waiting === 0;
      });
    });

    it(`${WAITERS} may wait for one file while others go on, and get it in turn`, { timeout: 180_000 }, async () => {
      const file = mount().path('wanted');
      const holder = new Talking(['hold', file], mount());
      await holder.said('held');
      const queue = new Talking(['queue', file, String(WAITERS)], mount());
      await queue.said('waiting');
      await until('all wait in the driver', async () => (await mount().status()).locks?.waiting === WAITERS);
      await createFiles(mount(), 'meanwhile');
      await holder.end();
      expect(await queue.end()).toContain(`got ${WAITERS}`);
      expect((await mount().status()).locks).toEqual({ held: 0, waiting: 0 });
    });

    it.skipIf(!hasProgram('sqlite3')).each(['DELETE', 'WAL'])('SQLite (%s) keeps a consistent database under four writers', { timeout: 120_000 }, async (journal) => {
      await mount().sh(sqlite(journal, `database-${journal}`), { timeoutMs: 100_000 });
    });
  });

  describeOnMount('on sdfs with locks=sdfs, a killed driver', { mountOptions: 'locks=sdfs', faults: true }, (mount) => {
    it('leaves locks with those who hold them, and who waits gets them in the end', { timeout: 120_000 }, async () => {
      const file = mount().path('wanted');
      const holder = new Talking(['hold', file], mount());
      await holder.said('held');
      const queue = new Talking(['queue', file, '100'], mount());
      await queue.said('waiting');
      for (let kills = 0; kills < 3; kills++) {
        await mount().kill('driver');
        expect(await mount().run(program, ['refused', file])).toMatchObject({ code: 0, stderr: '' });
        await mount().untilReady();
      }
      await until('all wait in the driver', async () => (await mount().status()).locks?.waiting === 100);
      expect((await mount().status()).locks?.held).toBe(2);
      await mount().kill('driver');
      await holder.end();
      expect(await queue.end()).toContain('got 100');
      await mount().untilReady();
      expect((await mount().status()).locks).toEqual({ held: 0, waiting: 0 });
    });

    it('again and again while locks are handed on forgets none and brings none back', { timeout: 120_000 }, async () => {
      const file = mount().path('handed-on');
      const rounds = mount().run(program, ['churn', file, '40', '200'], { timeoutMs: 110_000 });
      let ended = false;
      void rounds.finally(() => { ended = true; });
      let kills = 0;
      for (; kills < 5 && !ended; kills++) {
        await mount().kill('driver');
        await mount().untilReady();
      }
      expect(kills).toBeGreaterThan(1);
      expect(await rounds).toMatchObject({ code: 0, stderr: '' });
      expect((await mount().status()).locks).toEqual({ held: 0, waiting: 0 });
    });

    it('ends all locks with the mount', async () => {
      const holder = new Talking(['hold', mount().path('wanted')], mount());
      await holder.said('held');
      await mount().killEverything();
      await holder.end();
      await mount().mount();
      expect((await mount().status()).locks).toEqual({ held: 0, waiting: 0 });
      expect(await mount().run(program, ['churn', mount().path('wanted'), '2', '1'])).toMatchObject({ code: 0 });
    });
  });
});
