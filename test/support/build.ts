// Builds dist/ once before the mount tests, when a source is newer: they run the command that users run.
import { spawn } from 'node:child_process';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const PROJECT = resolve(dirname(fileURLToPath(import.meta.url)), '../..');

/** vitest's globalSetup. */
export default async function setup(): Promise<void> {
  const child = spawn('bash', ['scripts/setup', '--build'], { cwd: PROJECT, stdio: ['ignore', 'inherit', 'inherit'] });
  const code = await new Promise<number | null>((resolveCode, reject) => {
    child.once('error', reject);
    child.once('exit', resolveCode);
  });
  if (code !== 0) throw new Error(`scripts/setup --build ended with ${code}`);
}
