// A short turn of scripts/kv-chaos: many at once on few keys while processes are killed, every history linearizable; and
// the same on a store that is wrong on purpose, which has to be found out.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { run } from '../../support/programs.ts';

const PROJECT = resolve(import.meta.dirname, '../../..');
const CHAOS = join(PROJECT, 'scripts/kv-chaos');
const SEED = process.env['SDFS_STORE_SEED'] ?? String(Date.now() % 1_000_000);

async function chaos(args: readonly string[], more: NodeJS.ProcessEnv = {}): Promise<{ code: number; stdout: string }> {
  const place = mkdtempSync(join(tmpdir(), 'sdfs-chaos-test-'));
  onTestFinished(() => rmSync(place, { recursive: true, force: true }));
  return run(CHAOS, ['--built', '--seed', SEED, ...args], { timeoutMs: 230_000, env: { ...process.env, ...more, TMPDIR: place } });
}

it(`what many clients do at once is linearizable while shards and openers are killed (seed ${SEED})`, { timeout: 240_000 }, async () => {
  const { code, stdout } = await chaos(['--faults', '8', '--shards', '3', '--only', 'kill-shard,kill-shards,kill-opener,kill-all']);
  expect([code, stdout], stdout).toEqual([0, expect.stringContaining('\n0 findings')]);
});

it('a stale read is found', { timeout: 240_000 }, async () => {
  const { code, stdout } = await chaos(['--faults', '2', '--clients', '0', '--shards', '2', '--only', 'kill-shard'], { SDFS_KV: join(PROJECT, 'test/support/stale-store.mjs') });
  expect([code, stdout], stdout).toEqual([1, expect.stringContaining('not linearizable')]);
});
