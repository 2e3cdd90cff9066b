// The bytes of files on a mount: offsets, holes, truncation, appends, mappings, unlinked files.
import { open, readFile, stat, truncate, unlink, writeFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { describeOnEdges } from '../support/edges.ts';

const KiB = 1024;
const MiB = 1024 * KiB;

describeOnEdges('file data', {}, (mount, needs) => {
  const path = (...parts: string[]): string => mount().path(...parts);
  const script = (name: string, ...args: string[]): Promise<unknown> => mount().script('syscall.mjs', [name, ...args]).then((text) => JSON.parse(text) as unknown);

  it('large files read back as they were written, through caches and without', async () => {
    await mount().sh(`
      head -c 70000000 /dev/urandom >../large && cp ../large large && cmp ../large large
      sync large && echo 3 >/proc/sys/vm/drop_caches && cmp ../large large
      dd if=../large of=odd bs=12345 status=none && echo 3 >/proc/sys/vm/drop_caches && cmp ../large odd
    `);
  });

  it('a read over more pieces than one writev takes is answered', async () => {
    const file = await open(path('pieces'), 'a');
    for (let index = 0; index < 1500; index++) await file.write(Buffer.alloc(128, index));
    await file.close();
    await mount().sh('sync pieces && echo 3 >/proc/sys/vm/drop_caches');
    const bytes = await readFile(path('pieces'));
    expect(bytes.length).toBe(1500 * 128);
    for (let index = 0; index < 1500; index++) expect(bytes[index * 128 + 127]).toBe(index & 0xff);
  });

  it('a file may be larger than 4 GiB, with data on both sides', async () => {
    const file = await open(path('huge'), 'w+');
    try {
      await file.write('begin', 0);
      await file.write('end', 6 * 1024 * MiB);
      const { buffer } = await file.read(Buffer.alloc(3), 0, 3, 6 * 1024 * MiB);
      expect(buffer.toString()).toBe('end');
    } finally {
      await file.close();
    }
    const { size, blocks } = await stat(path('huge'));
    expect(size).toBe(6 * 1024 * MiB + 3);
    expect(blocks * 512).toBeLessThan(MiB);
  });

  it('SEEK_DATA and SEEK_HOLE tell data from holes', async (context) => {
    needs(context, 'holes that are found');
    await truncate(await made('sparse'), 8 * MiB);
    const file = await open(path('sparse'), 'r+');
    await file.write(Buffer.alloc(64 * KiB, 1), 0, 64 * KiB, 2 * MiB);
    await file.sync();
    await file.close();
    expect(await script('extents', path('sparse'))).toEqual([[2 * MiB, 2 * MiB + 64 * KiB]]);
  });

  it('a punched hole reads as zeros, gives its space back, and keeps the size', async (context) => {
    needs(context, 'fallocate');
    await writeFile(path('punched'), Buffer.alloc(4 * MiB, 7));
    const before = (await stat(path('punched'))).blocks;
    expect(await script('fallocate', path('punched'), '3', String(MiB), String(2 * MiB))).toBe(0);
    const bytes = await readFile(path('punched'));
    expect(bytes.length).toBe(4 * MiB);
    expect(bytes.subarray(MiB, 3 * MiB).every((byte) => byte === 0)).toBe(true);
    expect([bytes[MiB - 1], bytes[3 * MiB]]).toEqual([7, 7]);
    expect((await stat(path('punched'))).blocks).toBeLessThanOrEqual(before - 4000);
  });

  it('fallocate grows a file with zeros, or keeps its size when told so', async (context) => {
    needs(context, 'fallocate');
    await writeFile(path('allocated'), 'abc');
    expect(await script('fallocate', path('allocated'), '1', '0', String(MiB))).toBe(0);
    expect((await stat(path('allocated'))).size).toBe(3);
    expect(await script('fallocate', path('allocated'), '0', '0', String(MiB))).toBe(0);
    expect((await readFile(path('allocated'))).subarray(0, 5)).toEqual(Buffer.from('abc\0\0'));
    expect((await stat(path('allocated'))).size).toBe(MiB);
  });

  it('truncation cuts, and growth shows zeros, never old bytes', async () => {
    await writeFile(path('cut'), Buffer.alloc(3 * MiB, 9));
    for (const size of [2 * MiB + 1, 100, 0]) {
      await truncate(path('cut'), size);
      await truncate(path('cut'), 3 * MiB);
      const bytes = await readFile(path('cut'));
      expect(bytes.length).toBe(3 * MiB);
      expect(bytes.subarray(0, size).every((byte) => byte === 9)).toBe(true);
      expect(bytes.subarray(size).every((byte) => byte === 0)).toBe(true);
    }
  });

  it('a thousand small writes at random places give one file', async () => {
    const wanted = Buffer.alloc(600 * KiB);
    const file = await open(path('patched'), 'w+');
    for (let index = 0; index < 1000; index++) {
      const at = (index * 7_919_993) % (wanted.length - 5000);
      const piece = Buffer.alloc(1 + ((index * 37) % 4999), (index % 255) + 1);
      piece.copy(wanted, at);
      await file.write(piece, 0, piece.length, at);
    }
    await file.close();
    await mount().sh('sync patched && echo 3 >/proc/sys/vm/drop_caches');
    const end = (await stat(path('patched'))).size;
    expect((await readFile(path('patched'))).equals(wanted.subarray(0, end))).toBe(true);
  });

  it('appends of four processes neither overwrite nor mix', async () => {
    await mount().sh(`
      for p in 1 2 3 4; do (for n in $(seq 200); do printf 'process %s line %04d %0100d\\n' $p $n $p; done >>appended) & done
      wait
      test "$(wc -l <appended)" = 800 && test "$(sort -u appended | wc -l)" = 800
      test "$(grep -cE '^process [1-4] line [0-9]{4} [0-9]{100}$' appended)" = 800
    `);
  });

  it('what is written through a shared mapping is in the file', async () => {
    await writeFile(path('mapped'), Buffer.alloc(100_000, 'a'));
    expect(await script('mmap', path('mapped'), '50000', 'through the mapping')).toBe(0);
    expect((await readFile(path('mapped'))).subarray(49_999, 50_020).toString()).toBe('athrough the mappinga');
  });

  it('copy_file_range copies', async () => {
    await writeFile(path('source'), Buffer.from(Array.from({ length: 300_000 }, (_, index) => index % 251)));
    await made('target');
    expect(await script('copyRange', path('source'), '1000', path('target'), '0', '200000')).toBe(200_000);
    expect((await readFile(path('target'))).equals((await readFile(path('source'))).subarray(1000, 201_000))).toBe(true);
  });

  it('an unlinked file lives as long as it is open', async () => {
    const file = await open(await made('doomed'), 'r+');
    await file.write('still here', 0);
    await unlink(path('doomed'));
    expect((await file.stat()).nlink).toBe(0);
    await file.write(Buffer.alloc(300 * KiB, 5), 0, 300 * KiB, MiB);
    await file.sync();
    const { buffer } = await file.read(Buffer.alloc(10), 0, 10, 0);
    expect(buffer.toString()).toBe('still here');
    await file.close();
  });

  it('a file replaced by rename stays readable for who has it open', async () => {
    await writeFile(path('version'), 'old');
    const file = await open(path('version'), 'r');
    await mount().sh('echo new >version.tmp && mv version.tmp version');
    expect(await file.readFile('utf8')).toBe('old');
    expect(await readFile(path('version'), 'utf8')).toBe('new\n');
    await file.close();
  });

  async function made(name: string): Promise<string> {
    await writeFile(path(name), '');
    return path(name);
  }
});
