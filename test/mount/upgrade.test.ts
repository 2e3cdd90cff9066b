// New code under a living mount: programs see a pause and nothing else.
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { describeOnMount } from '../support/mount.ts';
import { delay, until } from '../support/programs.ts';

const ROUNDS = 3;

describeOnMount('an upgrade', {}, (mount) => {
  it('under load is seen by no program, and all that was acknowledged is there', { timeout: 180_000 }, async () => {
    const script = new URL('../support/load.mjs', import.meta.url).pathname;
    const journal = join(mount().root, 'journal');
    const load = mount().run(process.execPath, [script, 'run', mount().path('load'), journal, '20', '1'], { timeoutMs: 120_000 });
    await until('the load has begun', async () => (await readdir(mount().mountpoint)).includes('load'));
    const pids = new Set<number>();
    for (let round = 0; round < ROUNDS; round++) {
      for (const pid of [...(await mount().pids('driver')), ...(await mount().pids('worker'))]) pids.add(pid);
      await mount().mustSdfs('upgrade', mount().mountpoint);
      await delay(500);
    }
    const { code, stderr } = await load;
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(pids.size).toBe(ROUNDS * 4);
    await mount().script('load.mjs', ['verify', mount().path('load'), journal], { timeoutMs: 60_000 });
  });
});
