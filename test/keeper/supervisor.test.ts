// How one child is kept alive: readiness, restarts with back-off, ends that are asked for.
import { EventEmitter } from 'node:events';
import type { ChildProcess } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { Supervisor } from '../../src/keeper/supervisor.ts';
import { quiet } from './fixture.ts';

class StandInChild extends EventEmitter {
  readonly pid = Math.floor(Math.random() * 1e6) + 1e6;
  connected = true;
  readonly sent: unknown[] = [];
  readonly signals: string[] = [];
  send(message: unknown): boolean {
    this.sent.push(message);
    return true;
  }
  kill(signal: string): boolean {
    this.signals.push(signal);
    queueMicrotask(() => this.exit(null, signal));
    return true;
  }
  exit(code: number | null, signal: string | null = null): void {
    if (!this.connected) return;
    this.connected = false;
    this.emit('exit', code, signal);
  }
}

let children: StandInChild[];
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  children = [];
});
afterEach(() => vi.useRealTimers());

const last = () => children[children.length - 1] as StandInChild;

function supervisor() {
  return new Supervisor<{ type: string }, { type: string }>(quiet, {
    name: 'worker 0', startMs: 1000, stopMs: 500, startMessage: () => ({ type: 'start' }), stopMessage: { type: 'stop' },
    fork: () => {
      const child = new StandInChild();
      children.push(child);
      return child as unknown as ChildProcess;
    },
  });
}

function readySupervisor() {
  const watched = supervisor();
  watched.start();
  last().emit('message', { type: 'ready' });
  return watched;
}

/** Advances to the restart that is due and returns how long that took. */
function delayOfRestart(): number {
  const count = children.length;
  const before = performance.now();
  while (children.length === count) vi.advanceTimersToNextTimer();
  return performance.now() - before;
}

describe('a supervised child', () => {
  it('is sent its start message and is ready when it says so', async () => {
    const watched = readySupervisor();
    await watched.untilReady();
    expect(last().sent).toEqual([{ type: 'start' }]);
    expect(watched.state.kind).toBe('ready');
  });

  it('that says that it is unusable at its first start is not started again', async () => {
    const watched = supervisor();
    watched.start();
    last().emit('message', { type: 'unusable', reason: 'wrong disk', exitCode: 6 });
    last().exit(6);
    await expect(watched.untilReady()).rejects.toMatchObject({ message: 'wrong disk', exitCode: 6 });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(children).toHaveLength(1);
  });

  it('that becomes unusable later is tried again for ever, slower each time', async () => {
    readySupervisor();
    for (const delayMs of [1, 2, 4, 8, 15, 15].map((seconds) => seconds * 1000)) {
      last().emit('message', { type: 'unusable', reason: 'the disk is gone', exitCode: 3 });
      last().exit(3);
      expect(delayOfRestart()).toBe(delayMs);
    }
    expect(LIMITS.diskRetryMaxMs).toBe(15_000);
  });

  it('that cannot be killed gets no second one beside it, and is not waited for when all ends', async () => {
    const watched = readySupervisor();
    const stuck = last();
    stuck.kill = (signal) => stuck.signals.push(signal) > 0;
    watched.replace('it hangs');
    await vi.advanceTimersByTimeAsync(10 * 60_000);
    expect(children).toHaveLength(1);
    expect(watched.state).toMatchObject({ kind: 'leaving', reason: 'it hangs' });
    const ended = watched.kill();
    await vi.advanceTimersByTimeAsync(LIMITS.killMs);
    expect(await ended).toEqual({ code: null, signal: null });
  });

  it('that is given up gets one beside it that cannot be killed, whose end is nobody\'s business then', async () => {
    const watched = readySupervisor();
    const stuck = last();
    stuck.kill = (signal) => stuck.signals.push(signal) > 0;
    watched.abandon('its disk hangs');
    await vi.advanceTimersByTimeAsync(LIMITS.killMs + LIMITS.restartDelayMinMs);
    expect(stuck.signals).toEqual(['SIGKILL']);
    expect(children).toHaveLength(2);
    last().emit('message', { type: 'ready' });
    stuck.exit(null, 'SIGKILL');
    expect(watched.state).toMatchObject({ kind: 'ready', child: last() });
  });

  it('that was killed because it hung is started again when it has ended', () => {
    const watched = readySupervisor();
    const stuck = last();
    stuck.kill = () => true;
    watched.replace('it hangs');
    stuck.exit(null, 'SIGKILL');
    expect(delayOfRestart()).toBe(LIMITS.restartDelayMinMs);
    expect(watched.state.kind).toBe('starting');
  });

  it('is killed and started again when it does not get ready', async () => {
    readySupervisor();
    last().exit(1);
    delayOfRestart();
    const hung = last();
    await vi.advanceTimersByTimeAsync(1000);
    expect(hung.signals).toEqual(['SIGKILL']);
    await vi.advanceTimersByTimeAsync(LIMITS.restartDelayMaxMs);
    expect(last()).not.toBe(hung);
  });

  it('is started again at once at first, then ever more slowly, up to a bound', () => {
    readySupervisor();
    const delays: number[] = [];
    for (let death = 0; death < 20; death += 1) {
      last().exit(1);
      delays.push(delayOfRestart());
      last().emit('message', { type: 'ready' });
    }
    expect(delays.slice(0, 10)).toEqual(Array(10).fill(LIMITS.restartDelayMinMs));
    expect(delays[10]).toBe(2 * LIMITS.restartDelayMinMs);
    expect(delays[19]).toBe(LIMITS.restartDelayMaxMs);
  });

  it('is started again quickly after a quiet minute', async () => {
    readySupervisor();
    for (let death = 0; death < 20; death += 1) {
      last().exit(1);
      delayOfRestart();
      last().emit('message', { type: 'ready' });
    }
    await vi.advanceTimersByTimeAsync(61_000);
    last().exit(1);
    expect(delayOfRestart()).toBe(LIMITS.restartDelayMinMs);
  });

  it('backs off at once when its starts fail', () => {
    readySupervisor();
    last().exit(1);
    delayOfRestart();
    last().exit(1);
    expect(delayOfRestart()).toBe(2 * LIMITS.restartDelayMinMs);
    last().exit(1);
    expect(delayOfRestart()).toBe(4 * LIMITS.restartDelayMinMs);
  });

  it('that is asked to stop is not started again', async () => {
    const watched = readySupervisor();
    const ended = watched.stop();
    expect(last().sent).toContainEqual({ type: 'stop' });
    last().exit(0);
    expect(await ended).toEqual({ code: 0, signal: null });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(children).toHaveLength(1);
  });

  it('that does not stop when asked is killed', async () => {
    const watched = readySupervisor();
    const ended = watched.stop();
    await vi.advanceTimersByTimeAsync(500);
    expect(await ended).toEqual({ code: null, signal: 'SIGKILL' });
  });

  it('that waits for its restart can be stopped', async () => {
    const watched = readySupervisor();
    last().exit(1);
    await watched.stop();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(children).toHaveLength(1);
    expect(watched.state.kind).toBe('stopped');
  });
});

it('a child that says that it is getting on has the whole time to start again', () => {
  const watched = supervisor();
  watched.start();
  watched.untilReady().catch(() => undefined);
  for (let count = 0; count < 5; count++) {
    vi.advanceTimersByTime(900);
    last().emit('message', { type: 'progress' });
  }
  expect(last().signals).toEqual([]);
  vi.advanceTimersByTime(1000);
  expect(last().signals).toEqual(['SIGKILL']);
});
