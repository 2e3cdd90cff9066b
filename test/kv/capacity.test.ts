// Usable space with R copies on different devices.
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { CapacityMeter, usableBytes } from '../../src/kv/capacity.ts';
import { memoryPool } from '../support/memory-pool.ts';

const rooms = (...bytes: number[]) => bytes.map((room) => ({ bytes: room, disks: 1 }));

describe('usable bytes', () => {
  it.each([
    { devices: rooms(100, 100), copies: 2, wanted: 100 },
    { devices: rooms(100, 50), copies: 2, wanted: 50 },
    { devices: rooms(100, 50, 50), copies: 2, wanted: 100 },
    { devices: rooms(1000, 50, 50), copies: 2, wanted: 100 },
    { devices: rooms(100, 100, 100), copies: 2, wanted: 150 },
    { devices: rooms(100, 100, 100), copies: 3, wanted: 100 },
    { devices: rooms(100, 70), copies: 1, wanted: 170 },
    { devices: rooms(0, 70), copies: 2, wanted: 0 },
    { devices: rooms(-5, 70), copies: 2, wanted: 0 },
    { devices: [{ bytes: 100, disks: 3 }], copies: 2, wanted: 50 },
    { devices: [{ bytes: 100, disks: 2 }, { bytes: 30, disks: 2 }], copies: 3, wanted: 30 },
    { devices: [{ bytes: 100, disks: 1 }], copies: 2, wanted: 100 },
    { devices: [], copies: 2, wanted: 0 },
  ])('are $wanted for $copies copies on $devices', ({ devices, copies, wanted }) => {
    expect(usableBytes(devices, copies)).toBe(wanted);
  });

  it('are exact for disks of terabytes', () => {
    expect(usableBytes(rooms(2 ** 43, 2 ** 43 - 4096), 2)).toBe(2 ** 43 - 4096);
  });
});

describe('the numbers of the disks', () => {
  it('are those of now when they are asked for anew, and count what was put meanwhile once', async () => {
    const { pool, workers } = await memoryPool(2, { devices: [1, 2] });
    const meter = new CapacityMeter(pool, { copies: 2 });
    for (const worker of workers) worker.capacityBytes = 1000;
    await meter.refresh(0);
    expect(meter.capacity().availableBytes).toBe(1000);
    for (const worker of workers) worker.capacityBytes = 5000;
    await meter.refresh(60_000);
    expect(meter.capacity().availableBytes).toBe(1000);
    meter.took(300);
    await Promise.all([meter.refresh(0), meter.refresh(0), meter.refresh(0)]);
    expect([meter.capacity().availableBytes, meter.recentBytes]).toEqual([5000, 0]);
    pool.close();
  });

  it('are not waited for longer than a moment', async () => {
    const { pool, workers } = await memoryPool(2, { devices: [1, 2] });
    const meter = new CapacityMeter(pool, { copies: 2 });
    workers[0]!.hanging = true;
    const startMs = performance.now();
    await meter.refresh(0);
    expect(performance.now() - startMs).toBeLessThan(LIMITS.workerTimeoutMs);
    pool.close();
  });
});
