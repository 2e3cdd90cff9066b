// What is measured: a plain directory, a fresh sdfs volume, the null file system, and directories that the user names.
// Each target is { name, directory, end(), memory?() }; ending one never throws.
import { execFile, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const call = promisify(execFile);
const DIST = fileURLToPath(new URL('../../dist', import.meta.url));
const CLI = join(DIST, 'cli/main.js');
const COMMAND_TIMEOUT_MS = 120_000;
const START_TIMEOUT_MS = 20_000;

export function plainTarget(place) {
  const directory = join(place, 'plain');
  mkdirSync(directory);
  return { name: 'plain', directory, end: async () => {} };
}

export function givenTarget(name, directory) {
  return { name, directory, end: async () => {} };
}

/** A fresh volume of four directories with two copies, or as told. */
export async function sdfsTarget(place, { disks, copies, mountOptions }) {
  const [volume, mountpoint] = [join(place, 'volume'), join(place, 'sdfs')];
  const directories = Array.from({ length: disks }, (_, index) => join(place, `disk${index}`));
  for (const directory of [mountpoint, ...directories]) mkdirSync(directory);
  const env = { ...process.env, SDFS_RUN_DIR: join(place, 'run') };
  const sdfs = (...args) => call(process.execPath, [CLI, ...args], { env, timeout: COMMAND_TIMEOUT_MS });
  await sdfs('init', ...directories.flatMap((directory) => ['--disk', directory]), '--copies', String(copies), volume);
  await sdfs('mount', '-d', ...(mountOptions ? ['-o', mountOptions] : []), volume, mountpoint);
  return {
    name: 'sdfs',
    directory: mountpoint,
    async memory() {
      const { processes } = JSON.parse((await sdfs('status', '--json', mountpoint)).stdout);
      return processes.map(({ role, worker, pid }) => ({ process: worker === null ? role : `${role} ${worker}`, anonymousMB: anonymousMB(pid) }));
    },
    async end() {
      await sdfs('umount', mountpoint).catch(async (error) => {
        process.stderr.write(`bench: umount: ${error.stderr ?? error.message}\n`);
        await sdfs('umount', '--force', mountpoint).catch(() => {});
      });
    },
  };
}

/** The kernel edge alone: names in memory, data thrown away. */
export async function nullTarget(place) {
  const directory = join(place, 'null');
  mkdirSync(directory);
  const server = spawn(process.execPath, [join(DIST, 'driver/null-mount.js'), directory], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => server.once('exit', resolve));
  await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('the null file system was not ready in time')), START_TIMEOUT_MS);
    server.stdout.once('data', () => (clearTimeout(timer), resolve()));
    server.once('exit', (code) => (clearTimeout(timer), reject(new Error(`the null file system ended with ${code}`))));
  });
  return {
    name: 'null',
    directory,
    async end() {
      server.kill('SIGTERM');
      const timer = setTimeout(() => server.kill('SIGKILL'), START_TIMEOUT_MS);
      await ended;
      clearTimeout(timer);
    },
  };
}

function anonymousMB(pid) {
  const kib = /RssAnon:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Math.round(Number(kib) / 1024);
}

/** Removes the place of a run, unless something is still mounted in it. */
export function removePlace(place) {
  if (readFileSync('/proc/self/mounts', 'utf8').includes(place)) {
    process.stderr.write(`bench: something is still mounted below ${place}; it is left as it is\n`);
    return;
  }
  if (readdirSync(place).length > 0) rmSync(place, { recursive: true, force: true });
  rmSync(place, { recursive: true, force: true });
}
