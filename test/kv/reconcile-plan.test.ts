// What is to become of the copies of one block, disk by disk.
import { expect, it } from 'vitest';
import { planCopies } from '../../src/kv/reconcile-plan.ts';
import type { DiskView } from '../../src/kv/reconcile-plan.ts';

const READY: DiskView = { presence: 'ready', target: true, hasRoom: true };
const AWAY: DiskView = { ...READY, presence: 'away' };
const LOST: DiskView = { ...READY, presence: 'lost' };
const FULL: DiskView = { ...READY, hasRoom: false };
const DRAINING: DiskView = { ...READY, target: false };

const plan = (ranking: number[], holders: number[], disks: DiskView[], copies = 2) => planCopies({ ranking, holders }, disks, copies);

it('a block where it belongs is left alone', () => {
  expect(plan([2, 0, 1], [0, 2], [READY, READY, READY])).toEqual({ copyTo: [], drop: [], keep: [2, 0] });
});

it('a missing copy is made on the disk where it belongs', () => {
  expect(plan([2, 0, 1], [2], [READY, READY, READY])).toEqual({ copyTo: [0], drop: [], keep: [2, 0] });
});

it('a copy that strayed is dropped for one where it belongs', () => {
  expect(plan([2, 0, 1], [2, 1], [READY, READY, READY])).toEqual({ copyTo: [0], drop: [1], keep: [2, 0] });
});

it('a disk that is away for a moment is believed to have its copy, and nothing is dropped meanwhile', () => {
  expect(plan([2, 0, 1], [2, 1], [AWAY, READY, READY])).toEqual({ copyTo: [], drop: [], keep: [2, 0] });
});

it('a lost disk is replaced by the next one', () => {
  expect(plan([2, 0, 1], [2], [LOST, READY, READY])).toEqual({ copyTo: [1], drop: [], keep: [2, 1] });
});

it('a full disk keeps what it has and gets nothing more', () => {
  expect(plan([2, 0, 1], [0], [FULL, READY, FULL])).toEqual({ copyTo: [1], drop: [], keep: [0, 1] });
});

it('a disk that is being emptied gives its copies away, and loses them only beside R others', () => {
  expect(plan([2, 0, 1], [2, 1], [READY, DRAINING, READY])).toEqual({ copyTo: [0], drop: [1], keep: [2, 0] });
  expect(plan([0, 1], [0, 1], [READY, DRAINING])).toEqual({ copyTo: [], drop: [], keep: [0] });
});

it('with fewer disks than copies all get one', () => {
  expect(plan([1, 0], [], [READY, READY], 3)).toEqual({ copyTo: [1, 0], drop: [], keep: [1, 0] });
});
