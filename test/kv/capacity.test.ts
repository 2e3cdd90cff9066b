// Usable space with R copies on different devices.
import { describe, expect, it } from 'vitest';
import { usableBytes } from '../../src/kv/capacity.ts';

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
