// Many processes on the same files and directories: no update is lost, no write is read torn, nobody waits for ever.
import { expect, it } from 'vitest';
import { describeOnMount } from '../support/mount.ts';
import type { TestMount } from '../support/mount.ts';
import { delay, hasProgram } from '../support/programs.ts';

/** SDFS_TEST_SECONDS=60 for a long look. */
const SECONDS = Number(process.env.SDFS_TEST_SECONDS ?? 4);
const SEED = Number(process.env.SDFS_TEST_SEED ?? 1);
const PROCESSES = 8;
const missing = hasProgram('python3') ? undefined : 'no python3';
const SCRIPT = new URL('../support/contention.py', import.meta.url).pathname;
const timeout = SECONDS * 1000 + 90_000;

async function faultsOf(mount: TestMount, work: string, directory: string): Promise<string[]> {
  const { code, stdout, stderr } = await mount.run('python3', [SCRIPT, work, mount.path(directory), String(PROCESSES), String(SECONDS), String(SEED)], { timeoutMs: timeout - 5_000 });
  if (code !== 0) return [`exit code ${code}: ${stderr}`];
  return JSON.parse(stdout) as string[];
}

const WORKS: readonly (readonly [work: string, fact: string])[] = [
  ['append', 'each record that was appended is there once, whole, in the order of its writer'],
  ['blocks', 'a page that was written at once is read as one write left it, through the cache and around it'],
  ['names', 'of those who make, link, rename or remove one name, one wins, and no name is lost or left'],
  ['counter', 'an update under a lock, of flock or of fcntl, is not lost, nor one by renaming'],
];

describeOnMount('among processes that use the same files', { missing }, (mount) => {
  it.each(WORKS)('%s: %s', { timeout }, async (work) => {
    expect(await faultsOf(mount(), work, work)).toEqual([]);
  });

  it('nothing is left that fsck finds', { timeout: 60_000 }, async () => {
    await mount().mustSdfs('fsck', mount().mountpoint);
  });
});

describeOnMount('among processes that use the same files, with locks held by sdfs', { missing, mountOptions: 'locks=sdfs' }, (mount) => {
  it('no update under a lock is lost', { timeout }, async () => {
    expect(await faultsOf(mount(), 'counter', 'counter')).toEqual([]);
  });
});

describeOnMount('among processes that use the same files while workers and drivers are killed', { missing, faults: true }, (mount) => {
  it.each(WORKS)('%s: %s', { timeout: timeout + 60_000 }, async (work) => {
    let ended = false;
    const faults = faultsOf(mount(), work, work).finally(() => { ended = true; });
    for (let count = 0; !ended; count++) {
      await delay(1_200);
      if (ended) break;
      // One that was just killed may not be there again yet.
      await mount().kill(count % 2 === 0 ? 'driver' : 'worker', count).catch(() => {});
    }
    expect(await faults).toEqual([]);
    await mount().untilReady();
  });
});
