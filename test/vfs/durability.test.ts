// What programs are told when acknowledged data cannot be made power-proof: an error each time, until it is; nothing is dropped.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FsError } from '../../src/base/errors.ts';
import { ROOT_INODE } from '../../src/base/ids.ts';
import type { InodeNumber } from '../../src/base/ids.ts';
import type { WriteOptions } from '../../src/vfs/filesystem.ts';
import { PLAIN_WRITE, openHarness } from '../support/vfs-harness.ts';
import type { Harness } from '../support/vfs-harness.ts';

const SMALL = 5000;
const LARGE = 300_000;

describe('data that cannot be made power-proof', () => {
  let harness: Harness;
  beforeEach(async () => { harness = await openHarness(); });
  afterEach(async () => {
    harness.blocks.failure = harness.log.failure = undefined;
    await harness.end();
  });

  const create = async (name: string): Promise<InodeNumber> => (await harness.fs.create(ROOT_INODE, Buffer.from(name), { mode: 0o100644, exclusive: true, truncate: false }, harness.caller())).inode;
  const write = async (inode: InodeNumber, bytes: number, options: Partial<WriteOptions> = {}): Promise<number> => harness.fs.write(inode, 0, Buffer.alloc(bytes, 7), { ...PLAIN_WRITE, ...options }, harness.caller());
  const isRead = async (inode: InodeNumber, bytes: number): Promise<boolean> => Buffer.concat(await harness.fs.read(inode, 0, bytes + 1)).equals(Buffer.alloc(bytes, 7));
  const codeOf = (act: () => unknown): Promise<string> => Promise.resolve().then(act).then(() => 'done', (error: unknown) => (error instanceof FsError ? error.code : String(error)));

  it.each(['log', 'blocks'] as const)('fails every fsync, of any file and again, while the %s cannot be synced', async (what) => {
    const [small, large] = [await create('small'), await create('large')];
    await write(small, SMALL);
    await write(large, LARGE);
    harness[what].failure = new FsError('EIO', 'the disks are gone');
    const syncs = [() => harness.fs.sync(), () => harness.fs.sync()];
    expect(await Promise.all(syncs.map(codeOf))).toEqual(['EIO', 'EIO']);
    expect(await codeOf(() => harness.fs.sync())).toBe('EIO');
    expect([await isRead(small, SMALL), await isRead(large, LARGE)]).toEqual([true, true]);
    harness[what].failure = undefined;
    expect(await codeOf(() => harness.fs.sync())).toBe('done');
    expect(harness.context.durability.lag.records).toBe(0);
    expect([await isRead(small, SMALL), await isRead(large, LARGE)]).toEqual([true, true]);
  });

  it('fails a write with O_DSYNC, and says so, when it is not power-proof', async () => {
    const file = await create('f');
    harness.log.failure = new FsError('EIO', 'the disks are gone');
    expect(await codeOf(() => write(file, SMALL, { durability: 'power' }))).toBe('EIO');
    expect(await codeOf(() => write(file, LARGE, { durability: 'power' }))).toBe('EIO');
    harness.log.failure = undefined;
    expect(await codeOf(() => write(file, SMALL, { durability: 'power' }))).toBe('done');
  });

  it('was written once by a large write with O_DSYNC that finds no room in the logs', async () => {
    const file = await create('f');
    await write(file, SMALL);
    const before = harness.engine.lastSequence;
    harness.log.failure = new FsError('ENOSPC', 'the disks are full');
    expect(await codeOf(() => write(file, LARGE, { durability: 'power' }))).toBe('ENOSPC');
    expect(harness.engine.lastSequence - before).toBe(1);
    expect(harness.blocks.stored.size).toBe(1);
    expect(await isRead(file, LARGE)).toBe(true);
  });

  it('is no matter for small data that the workers refuse: the log has it, and fsync holds', async () => {
    const file = await create('f');
    await write(file, SMALL);
    harness.blocks.failure = new FsError('ENOSPC', 'all disks are full');
    expect(await codeOf(() => harness.fs.sync())).toBe('done');
    expect(await codeOf(() => harness.context.durability.drain())).toBe('ENOSPC');
    expect(await isRead(file, SMALL)).toBe(true);
    expect(await codeOf(() => harness.fs.sync())).toBe('done');
    harness = await harness.successor();
    expect(await isRead(file, SMALL)).toBe(true);
    harness.blocks.failure = undefined;
    await harness.context.durability.drain();
    expect(harness.context.pending.bytes).toBe(0);
    expect(await isRead(file, SMALL)).toBe(true);
  });

  it('is no matter when the disks are full of what was replaced: that is given back first', async () => {
    const file = await create('f');
    for (let index = 0; index < 5; index++) await write(file, LARGE);
    const put = harness.blocks.putMany.bind(harness.blocks);
    harness.blocks.putMany = async (blocks) => {
      if (harness.blocks.stored.size > 4) throw new FsError('ENOSPC', 'all disks are full');
      return put(blocks);
    };
    expect(await codeOf(() => write(file, LARGE))).toBe('done');
    expect(await isRead(file, LARGE)).toBe(true);
  });

  describe.each(['write', 'create', 'mkdir', 'symlink', 'fallocate', 'setxattr', 'O_TMPFILE'] as const)('a %s that finds no room', (what) => {
    const act = (file: InodeNumber): unknown => {
      switch (what) {
        case 'write': return write(file, SMALL);
        case 'create': return create('g');
        case 'mkdir': return harness.fs.makeDirectory(ROOT_INODE, Buffer.from('d'), 0o755, harness.caller());
        case 'symlink': return harness.fs.makeSymlink(ROOT_INODE, Buffer.from('s'), Buffer.from('target'), harness.caller());
        case 'fallocate': return harness.fs.fallocate(file, 'allocate', 0, SMALL, harness.caller());
        case 'setxattr': return harness.fs.setXattr(file, Buffer.from('user.a'), Buffer.from('value'), { mode: 'create', killSetgid: false }, harness.caller());
        case 'O_TMPFILE': return harness.fs.createUnnamed(ROOT_INODE, 0o600, harness.caller());
      }
    };

    it('waits for what is being given back, and for newer numbers of the disks', async () => {
      const [file, removed] = [await create('f'), await create('removed')];
      await write(removed, LARGE);
      harness.blocks.availableBytes = 0;
      harness.blocks.refreshStatistics = async () => {
        harness.blocks.availableBytes = harness.blocks.stored.size === 0 ? 2 ** 30 : 0;
      };
      harness.fs.unlink(ROOT_INODE, Buffer.from('removed'), harness.caller());
      harness.fs.forget(removed, 2);
      expect(await codeOf(() => act(file))).toBe('done');
    });

    it('is refused when nothing is given back, having changed nothing', async () => {
      const file = await create('f');
      harness.blocks.availableBytes = 0;
      const before = harness.engine.lastSequence;
      expect(await codeOf(() => act(file))).toBe('ENOSPC');
      expect(harness.engine.lastSequence).toBe(before);
    });
  });

  it('refuses a large write that the workers refuse, and leaves the file as it was', async () => {
    const file = await create('f');
    await write(file, LARGE);
    harness.blocks.failure = new FsError('ENOSPC', 'all disks are full');
    expect(await codeOf(() => harness.fs.write(file, 0, Buffer.alloc(LARGE, 8), PLAIN_WRITE, harness.caller()))).toBe('ENOSPC');
    expect(await isRead(file, LARGE)).toBe(true);
    expect(await codeOf(() => harness.fs.setAttributes(file, { size: 0 }, harness.caller()))).toBe('done');
    harness.fs.unlink(ROOT_INODE, Buffer.from('f'), harness.caller());
  });
});
