// Time that passes when a test says so, for bounds of seconds. setImmediate stays real: workers in memory answer by it.
import { vi } from 'vitest';

export function useFakeClock(): void {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'] });
}

export function useRealClock(): void {
  vi.useRealTimers();
}

/** Lets what is under way come to rest without any time passing. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 8; turn++) await new Promise((resolve) => setImmediate(resolve));
}

export async function pass(milliseconds: number): Promise<void> {
  await settle();
  for (let left = milliseconds; left > 0; left -= 100) {
    await vi.advanceTimersByTimeAsync(Math.min(100, left));
    await settle();
  }
}
