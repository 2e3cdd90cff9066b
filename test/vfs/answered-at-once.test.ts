// What may not be done twice is answered in the turn of the event loop that commits it: a record is shipped to the workers
// in a later one, so that whatever a successor finds in a checkpoint, and in no log, was answered.
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Allocator } from '../../src/metadata/allocator.ts';
import { ROOT_INODE } from '../../src/base/ids.ts';
import type { InodeNumber } from '../../src/base/ids.ts';
import { FILE_TYPE } from '../../src/vfs/filesystem.ts';
import { PLAIN_WRITE, openHarness } from '../support/vfs-harness.ts';
import type { Harness } from '../support/vfs-harness.ts';

const MiB = 1024 * 1024;
const name = (text: string): Buffer => Buffer.from(text);

let harness: Harness;
let file: InodeNumber;
beforeEach(async () => {
  harness = await openHarness();
  file = await create('file');
  for (let index = 0; index < 8; index++) await harness.fs.write(file, index * MiB, Buffer.alloc(20_000, index), PLAIN_WRITE, harness.caller());
  harness.fs.makeDirectory(ROOT_INODE, name('empty'), 0o755, harness.caller());
  harness.fs.setXattr(file, name('user.there'), name('1'), { mode: 'set', killSetgid: false }, harness.caller());
});
afterEach(() => harness.end());

async function create(text: string): Promise<InodeNumber> {
  return (await harness.fs.create(ROOT_INODE, name(text), { mode: 0o100644, exclusive: true, truncate: false }, harness.caller())).inode;
}

const ACTS: Record<string, () => unknown> = {
  create: () => harness.fs.create(ROOT_INODE, name('new'), { mode: 0o100644, exclusive: true, truncate: false }, harness.caller()),
  'create of what is emptied': () => harness.fs.create(ROOT_INODE, name('file'), { mode: 0o100644, exclusive: false, truncate: true }, harness.caller()),
  mkdir: () => harness.fs.makeDirectory(ROOT_INODE, name('new'), 0o755, harness.caller()),
  mknod: () => harness.fs.makeNode(ROOT_INODE, name('new'), { mode: FILE_TYPE.fifo | 0o600, device: 0 }, harness.caller()),
  symlink: () => harness.fs.makeSymlink(ROOT_INODE, name('new'), name('target'), harness.caller()),
  tmpfile: () => harness.fs.createUnnamed(ROOT_INODE, 0o600, harness.caller()),
  link: () => harness.fs.link(file, ROOT_INODE, name('new'), harness.caller()),
  unlink: () => harness.fs.unlink(ROOT_INODE, name('file'), harness.caller()),
  rmdir: () => harness.fs.removeDirectory(ROOT_INODE, name('empty'), harness.caller()),
  rename: () => harness.fs.rename({ parent: ROOT_INODE, name: name('file') }, { parent: ROOT_INODE, name: name('new') }, 'replace', harness.caller()),
  exchange: () => harness.fs.rename({ parent: ROOT_INODE, name: name('file') }, { parent: ROOT_INODE, name: name('empty') }, 'exchange', harness.caller()),
  'setxattr, only if new': () => harness.fs.setXattr(file, name('user.new'), name('1'), { mode: 'create', killSetgid: false }, harness.caller()),
  removexattr: () => harness.fs.removeXattr(file, name('user.there'), harness.caller()),
  truncate: () => harness.fs.setAttributes(file, { size: 10 }, harness.caller()),
  fallocate: () => harness.fs.fallocate(file, 'punchHole', 0, 8 * MiB, harness.caller()),
  copyRange: () => harness.fs.copyRange({ inode: file, offset: 0 }, { inode: file, offset: 100 * MiB }, 8 * MiB, harness.caller()),
};

/** The turns in which `act` had its request recorded, and in which it was answered. */
async function turnsOf(act: () => unknown): Promise<{ committed: number; answered: number }> {
  let turn = 0;
  let committed = -1;
  let running = true;
  const count = (): void => {
    turn++;
    if (running) setImmediate(count);
  };
  setImmediate(count);
  const transact = harness.engine.transact.bind(harness.engine);
  harness.engine.transact = (cause, work) => {
    const value = transact(cause, work);
    if (cause !== null && cause.requestLo !== 0) committed = turn;
    return value;
  };
  try {
    await act();
    return { committed, answered: turn };
  } finally {
    running = false;
    harness.engine.transact = transact;
  }
}

it.each(Object.keys(ACTS))('%s is', async (what) => {
  const { committed, answered } = await turnsOf(ACTS[what]!);
  expect(committed).toBeGreaterThanOrEqual(0);
  expect(answered).toBe(committed);
});

it.each(['create', 'mkdir', 'mknod', 'symlink', 'tmpfile', 'setxattr, only if new'])('%s is, when it had to wait for room', async (what) => {
  harness.blocks.availableBytes = 0;
  harness.blocks.refreshStatistics = async () => { harness.blocks.availableBytes = 2 ** 30; };
  const { committed, answered } = await turnsOf(ACTS[what]!);
  expect(committed).toBeGreaterThan(0);
  expect(answered).toBe(committed);
});

it('no inode that the kernel may know of is made again by a successor that has lost the journal', async () => {
  const lost = [await create('lost0'), await create('lost1')];
  const next = new Allocator(harness.engine, { newBlockEpoch: true, inodesMayBeKnown: true }).inode();
  // The lease itself may be among what was lost.
  expect(next).toBeGreaterThan(Math.max(...lost) + 2 ** 20);
});
