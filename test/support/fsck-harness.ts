// A small file system with one of everything, and fsck over it; damage goes through the engine.
import type { FsckOptions, FsckReport } from '../../src/fsck/fsck.ts';
import { runFsck } from '../../src/fsck/fsck.ts';
import type { RepairTools } from '../../src/fsck/finding.ts';
import { blockKey } from '../../src/base/ids.ts';
import type { InodeNumber } from '../../src/base/ids.ts';
import { keyCountName } from '../../src/metadata/key-rows.ts';
import { decodeNumber, encodeNumber, keys } from '../../src/metadata/schema.ts';
import { PLAIN_WRITE } from './vfs-harness.ts';
import type { Harness } from './vfs-harness.ts';

export const ROOT = 1 as InodeNumber;

export interface Sample {
  readonly directory: InodeNumber;
  readonly inner: InodeNumber;
  readonly small: InodeNumber;
  readonly large: InodeNumber;
  readonly twice: InodeNumber;
  readonly link: InodeNumber;
  readonly aside: InodeNumber;
}

/** /dir/inner/, /dir/small, /large (3 MiB), /twice and /dir/also (one file), /link, /aside with space set aside, attributes and an ACL. */
export async function makeSample({ fs, caller }: Harness): Promise<Sample> {
  const name = (text: string): Buffer => Buffer.from(text);
  const create = async (parent: InodeNumber, text: string): Promise<InodeNumber> => (await fs.create(parent, name(text), { mode: 0o644, exclusive: true, truncate: false }, caller())).inode;
  const directory = fs.makeDirectory(ROOT, name('dir'), 0o755, caller()).inode;
  const inner = fs.makeDirectory(directory, name('inner'), 0o755, caller()).inode;
  const small = await create(directory, 'small');
  await fs.write(small, 0, Buffer.from('small data'), PLAIN_WRITE, caller());
  const large = await create(ROOT, 'large');
  for (let at = 0; at < 3; at++) await fs.write(large, at * 2 ** 20, Buffer.alloc(2 ** 20, at + 1), PLAIN_WRITE, caller());
  const twice = await create(ROOT, 'twice');
  fs.link(twice, directory, name('also'), caller());
  const link = fs.makeSymlink(ROOT, name('link'), name('dir/small'), caller()).inode;
  const aside = await create(ROOT, 'aside');
  await fs.fallocate(aside, 'keepSize', 0, 4 * 2 ** 20, caller());
  await fs.write(aside, 2 ** 20, Buffer.alloc(2 ** 19, 7), PLAIN_WRITE, caller());
  fs.setXattr(aside, name('user.colour'), name('blue'), { mode: 'set', killSetgid: false }, caller());
  return { directory, inner, small, large, twice, link, aside };
}

export function fsckTools({ engine, context, blocks }: Harness): RepairTools {
  return {
    transact: (work) => engine.transact(null, work),
    reader: engine.reader,
    newInode: () => context.allocator.inode(),
    blockBytes: async (id) => blocks.stored.get(blockKey(id))?.length,
    correctKeyCount: (area, delta) => engine.transact(null, (tx) => {
      const row = keys.bookkeeping(keyCountName(area));
      const value = tx.get(row);
      tx.put(row, encodeNumber((value === undefined ? 0 : decodeNumber(value)) + delta));
    }),
    correctInodeCount: (delta) => engine.correctInodeCount(delta),
    reserved: (delta) => { context.space.reservedBytes += delta; },
    exclusive: true,
  };
}

export function fsck(harness: Harness, options: Partial<FsckOptions> = {}): Promise<FsckReport> {
  return runFsck(
    { engine: harness.engine, tools: fsckTools(harness), reservedBytes: () => harness.context.space.reservedBytes, onProgress: () => {}, pause: async () => {} },
    { repair: false, examplesMax: 5, ...options },
  );
}
