// Which children are taken for hung: real processes, stopped by a real signal.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { TimeoutError } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { ChildWatch } from '../../src/keeper/child-watch.ts';
import { until } from '../support/programs.ts';

let child: ChildProcess;
let replaced: string[];
beforeEach(() => {
  child = spawn('sleep', ['600'], { stdio: 'ignore' });
  replaced = [];
});
afterEach(() => void child.kill('SIGKILL'));

function watch(ping: () => Promise<void> = async () => undefined): ChildWatch {
  const driver = { name: 'driver', pid: child.pid, state: { kind: 'ready' }, replace: (reason: string) => void replaced.push(reason) };
  return new ChildWatch({ driver, workers: [], link: { ping } });
}

const lookTimes = (watched: ChildWatch, count: number): void => {
  for (let look = 0; look < count; look++) watched.look();
};

async function stop(): Promise<void> {
  child.kill('SIGSTOP');
  const { readFile } = await import('node:fs/promises');
  await until('the process is stopped', async () => / T /.test(await readFile(`/proc/${child.pid}/stat`, 'latin1')));
}

it('a process that stays stopped is replaced', async () => {
  await stop();
  const watched = watch();
  lookTimes(watched, LIMITS.childLooksStopped - 1);
  expect(replaced).toEqual([]);
  watched.look();
  expect(replaced).toEqual([expect.stringContaining('SIGSTOP')]);
});

it('one that goes on in time is left alone', async () => {
  await stop();
  const watched = watch();
  lookTimes(watched, LIMITS.childLooksStopped - 1);
  child.kill('SIGCONT');
  await new Promise((resolve) => setTimeout(resolve, 50));
  lookTimes(watched, 10 * LIMITS.childLooksStopped);
  expect(replaced).toEqual([]);
});

it('a driver that does not answer is replaced, and one that answers with an error is not', async () => {
  watch(() => Promise.reject(new Error('the driver is starting'))).look();
  await Promise.resolve();
  expect(replaced).toEqual([]);
  watch(() => Promise.reject(new TimeoutError('the driver, asked for ping', LIMITS.driverPingMs))).look();
  await new Promise((resolve) => setImmediate(resolve));
  expect(replaced).toEqual([expect.stringContaining('no answer within')]);
});
