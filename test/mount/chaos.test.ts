// A short run of scripts/chaos: a few faults of every quick kind under verified load, from a printed seed.
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CLI, reasonNotToMount } from '../support/mount.ts';
import { hasProgram, run } from '../support/programs.ts';

const CHAOS = join(resolve(import.meta.dirname, '../..'), 'scripts/faults.d/chaos.mjs');
const missing = ['mkfs.ext4', 'sqlite3', 'losetup', 'python3'].find((name) => !hasProgram(name));
const reason = reasonNotToMount() ?? (missing && `no ${missing}`);
/** `SDFS_TEST_SEED` repeats a run, as far as its timing allows. */
const seed = process.env['SDFS_TEST_SEED'] ?? String(Math.floor(Math.random() * 2 ** 31));
/** Those that are over in seconds. The slow ones (disks that fail, fill, freeze, vanish) have tests of their own, and the long run. */
const KINDS = 'kill-worker,kill-workers,kill-driver,kill-all,upgrade,rot';

describe.skipIf(reason !== undefined)(`faults at random${reason === undefined ? `, seed ${seed}` : ` (${reason})`}`, () => {
  it('leave every program without an error, every acknowledged byte as it was written, and nothing behind', { timeout: 180_000 }, async () => {
    const { code, stdout, stderr } = await run(process.execPath, [CHAOS, '--faults', '6', '--disks', '3', '--writers', '2', '--seed', seed, '--only', KINDS], { env: { ...process.env, SDFS_CLI: CLI }, timeoutMs: 170_000 });
    expect(code, `seed ${seed}\n${stdout}${stderr}`).toBe(0);
    expect(stdout).toContain('0 findings');
  });
});
