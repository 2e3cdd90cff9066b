// What the one who asked for a mount in the background finds when it failed.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { EXIT } from '../../src/base/errors.ts';
import { launchKeeper } from '../../src/keeper/launch.ts';
import { DEFAULT_MOUNT_OPTIONS } from '../../src/kernel/mount-options.ts';

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'sdfs-launch-'));
});
afterEach(async () => {
  await rm(directory, { recursive: true });
});

/** Launches a keeper whose program is `script`, with `note` as the file that it may write to. */
async function launch(script: string): Promise<number> {
  const module = join(directory, 'keeper.mjs');
  await writeFile(module, `import { writeFileSync } from 'node:fs';\nconst note = ${JSON.stringify(join(directory, 'note'))};\n${script}`);
  return launchKeeper({ volumeDirectory: directory, mountpoint: directory, mount: DEFAULT_MOUNT_OPTIONS, driver: 'direct', forceDegraded: false, log: { level: 'info', file: join(directory, 'log') } }, module);
}

it('a mount that failed is reported when its keeper has ended, not before', async () => {
  const failing = launch(`process.once('message', () => {
    process.send({ type: 'failed', message: 'there is no disk', exitCode: ${EXIT.notFound} }, () => process.disconnect());
    setTimeout(() => { writeFileSync(note, 'ended'); process.exit(1); }, 300);
  });`);
  await expect(failing).rejects.toMatchObject({ message: 'there is no disk', exitCode: EXIT.notFound });
  expect(await readFile(join(directory, 'note'), 'utf8')).toBe('ended');
});

it('a keeper that ends without a word is a mount that failed', async () => {
  await expect(launch('process.exit(7);')).rejects.toMatchObject({ exitCode: EXIT.failure, message: expect.stringContaining('code 7') as string });
});
