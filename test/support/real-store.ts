// Stores of the built package, as users open them: in this process, and in others that can be killed.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { onTestFinished } from 'vitest';
import type * as api from '../../src/store/api.ts';

const PROJECT = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
export const BUILT_API = pathToFileURL(join(PROJECT, 'dist/store/api.js')).href;

export function builtApi(): Promise<typeof api> {
  return import(BUILT_API) as Promise<typeof api>;
}

/** A directory of this test, with its own runtime and journal directories; all goes when the test ends. */
export function storeDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'sdfs-store-'));
  process.env['SDFS_RUN_DIR'] = join(directory, 'run');
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Opens a store, which is closed when the test ends, if the test did not. */
export async function openReal(options: api.OpenStoreOptions): Promise<api.Store> {
  const { openStore } = await builtApi();
  const store = await openStore(options);
  onTestFinished(() => store.close().catch(() => {}));
  return store;
}

/** Processes of shards of the stores below `directory`: their command lines name the shard's directory. */
export function shardProcesses(directory: string): number[] {
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number).filter((pid) => {
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      return line.includes('worker/main.js') && line.includes(directory);
    } catch {
      return false;
    }
  });
}

/** Runs `body` (with `openStore`, `options` and `say`) in a process of its own; resolves with it when it has said 'ready'. */
export async function otherProcess(options: api.OpenStoreOptions, body: string): Promise<{ child: ChildProcess; said: string[]; ended: Promise<number | null> }> {
  const script = `import { openStore } from ${JSON.stringify(BUILT_API)};
const options = ${JSON.stringify(options)};
const say = (text) => process.stdout.write(text + '\\n');
${body}`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'pipe'] });
  onTestFinished(() => { child.kill('SIGKILL'); });
  const said: string[] = [];
  let trouble = '';
  child.stderr.on('data', (text: Buffer) => { trouble += text.toString(); });
  const ended = new Promise<number | null>((settle) => child.once('exit', (code) => settle(code)));
  await new Promise<void>((ready, failed) => {
    let rest = '';
    child.stdout.on('data', (text: Buffer) => {
      const lines = (rest + text.toString()).split('\n');
      rest = lines.pop()!;
      said.push(...lines);
      if (said.includes('ready')) ready();
    });
    child.once('exit', (code) => failed(new Error(`the other process ended with ${code} before it was ready: ${trouble}`)));
  });
  return { child, said, ended };
}
