// The clock of time stamps: nanoseconds, in order, never ahead of the wall clock.
import { expect, it } from 'vitest';
import { Clock } from '../../src/base/time.ts';
import type { Timestamp } from '../../src/base/time.ts';

const START_MS = 1_700_000_000_000;

/** A true time in nanoseconds since START_MS, of which the wall clock shows the milliseconds, plus what it was set by. */
function machine() {
  const state = { trueNs: 0, setMs: 0, looks: 0 };
  const clock = new Clock({
    wallMs: () => START_MS + state.setMs + Math.floor(state.trueNs / 1e6),
    elapsedMs: () => 777 + state.trueNs / 1e6,
  });
  return { state, clock };
}

const sinceStartNs = (time: Timestamp): number => (time.seconds - START_MS / 1000) * 1e9 + time.nanoseconds;

it('many times in a row are all different and in order', () => {
  const clock = new Clock();
  let last = clock.now();
  for (let count = 0; count < 100_000; count++) {
    const time = clock.now();
    expect(time.seconds > last.seconds || (time.seconds === last.seconds && time.nanoseconds > last.nanoseconds)).toBe(true);
    last = time;
  }
});

it('a time is within the millisecond that the system shows, or just behind it', () => {
  const clock = new Clock();
  for (let count = 0; count < 10_000; count++) {
    const before = Date.now();
    const { seconds, nanoseconds } = clock.now();
    const ms = seconds * 1000 + Math.floor(nanoseconds / 1e6);
    expect(ms).toBeGreaterThanOrEqual(before);
    expect(ms).toBeLessThanOrEqual(Date.now());
  }
});

it('it comes to the true nanosecond from below', () => {
  const { state, clock } = machine();
  state.trueNs = 600_000;
  expect(sinceStartNs(clock.now())).toBe(0);
  for (let step = 0; step < 5000; step++) {
    state.trueNs += 1300;
    expect(sinceStartNs(clock.now())).toBeLessThanOrEqual(state.trueNs);
  }
  state.trueNs += 250_123;
  const behind = state.trueNs - sinceStartNs(clock.now());
  expect(behind).toBeGreaterThanOrEqual(0);
  expect(behind).toBeLessThan(1400);
});

it('a wall clock that is set back a little does not take times back', () => {
  const { state, clock } = machine();
  state.trueNs = 5_000_000;
  const before = sinceStartNs(clock.now());
  state.setMs = -500;
  expect(sinceStartNs(clock.now())).toBe(before + 1);
  expect(sinceStartNs(clock.now())).toBe(before + 2);
  state.trueNs += 501e6;
  expect(sinceStartNs(clock.now())).toBe(6e6);
});

it('a wall clock that is set is followed, forward and far back', () => {
  const { state, clock } = machine();
  clock.now();
  state.setMs = 3_600_000;
  expect(sinceStartNs(clock.now())).toBe(3600e9);
  state.setMs = -3_600_000;
  expect(sinceStartNs(clock.now())).toBe(-3600e9);
});

it('nanoseconds stay below a second when the order carries them over', () => {
  const { state, clock } = machine();
  state.trueNs = 999_000_000;
  clock.now();
  state.trueNs = 999_999_999;
  const last = clock.now();
  expect(last).toEqual({ seconds: START_MS / 1000, nanoseconds: 999_999_999 });
  expect(clock.now()).toEqual({ seconds: START_MS / 1000 + 1, nanoseconds: 0 });
});
