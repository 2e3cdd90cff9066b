// A dump holds every row of one moment, comes back as it was, and is refused when it is damaged, cut short or too new.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { UserError } from '../../src/base/errors.ts';
import type { InodeNumber } from '../../src/base/ids.ts';
import { readDump, verifyDump } from '../../src/dump/dump-reader.ts';
import { writeDump } from '../../src/dump/dump-writer.ts';
import { describeRow, parseRow } from '../../src/dump/row-text.ts';
import type { Row } from '../../src/metadata/engine.ts';
import { keys } from '../../src/metadata/schema.ts';
import { ROOT, makeSample } from '../support/fsck-harness.ts';
import { PLAIN_WRITE, openHarness } from '../support/vfs-harness.ts';
import type { Harness } from '../support/vfs-harness.ts';

describe('a dump', () => {
  let harness: Harness;
  let file: string;

  beforeEach(async () => {
    harness = await openHarness();
    await makeSample(harness);
    file = join(harness.directory, 'dump');
  });
  afterEach(async () => {
    await harness.end();
  });

  const write = async (between: (portion: number) => Promise<void> | void = () => {}): Promise<string> => {
    const view = await harness.engine.view();
    let text = '';
    let portion = 0;
    for (const part of writeDump({ view, volume: 'v', description: { name: 'test' }, pending: [...harness.context.pending.all()] })) {
      text += part;
      await between(portion++);
    }
    view.close();
    writeFileSync(file, text);
    return text;
  };
  const rowsOf = (): Row[] => harness.engine.reader.range(Buffer.of(1), Buffer.of(0xff), Number.MAX_SAFE_INTEGER);
  const rowsIn = async (path = file): Promise<Row[]> => {
    const rows: Row[] = [];
    for await (const part of readDump(path)) if (part.kind === 'row') rows.push(part.row);
    return rows;
  };
  const refusal = async (text: string | Buffer): Promise<string> => {
    writeFileSync(file, text);
    const error = await verifyDump(file).then(() => undefined, (cause: unknown) => cause);
    expect(error).toBeInstanceOf(UserError);
    return (error as UserError).message;
  };

  it('has every row, exactly, in the order of keys, compressed or not', async () => {
    // Names and values that are not UTF-8, and a row that is none of this schema.
    harness.fs.makeDirectory(ROOT, Buffer.from([0xff, 0x41, 0xfe]), 0o755, harness.caller());
    harness.engine.transact(null, (tx) => tx.put(keys.orphan(99 as InodeNumber), Buffer.from('strange')));
    const text = await write();
    expect(await rowsIn()).toEqual(rowsOf());
    writeFileSync(file, gzipSync(text));
    expect(await rowsIn()).toEqual(rowsOf());
    expect(text).toContain('"row":"raw"');
    for (const row of rowsOf()) expect(parseRow(describeRow(row))).toEqual(row);
    harness.engine.transact(null, (tx) => tx.delete(keys.orphan(99 as InodeNumber)));
  });

  it('is of one moment while programs go on, with the small data that no disk has', async () => {
    const before = rowsOf();
    const waiting = [...harness.context.pending.all()].length;
    expect(waiting).toBeGreaterThan(0);
    await write(async (portion) => {
      const { inode } = await harness.fs.create(ROOT, Buffer.from(`later${portion}`), { mode: 0o600, exclusive: true, truncate: false }, harness.caller());
      await harness.fs.write(inode, 0, Buffer.from('later'), PLAIN_WRITE, harness.caller());
    });
    expect(await rowsIn()).toEqual(before);
    expect((await verifyDump(file)).trailer.data).toBe(waiting);
  });

  it('is refused when it is cut short, at any byte', async () => {
    const text = await write();
    for (let length = 0; length < text.length; length += 97) await refusal(text.slice(0, length));
    await refusal(text.slice(0, -1));
  });

  it('is refused when a byte of it is another, compressed or not', async () => {
    const bytes = Buffer.from(await write());
    for (let at = 0; at < bytes.length - 1; at += 211) {
      const damaged = Buffer.from(bytes);
      damaged[at]! ^= 1;
      await refusal(damaged);
    }
    const packed = gzipSync(bytes);
    packed[packed.length >> 1]! ^= 0x10;
    await refusal(packed);
  });

  it('is refused when a newer sdfs wrote it, and when it is something else', async () => {
    const text = await write();
    expect(await refusal(text.replace('"version":1', '"version":2'))).toContain('newer sdfs');
    expect(await refusal(text.replace(/"schema":\d+/, '"schema":99'))).toContain('newer sdfs');
    expect(await refusal('hello\n')).toContain('no dump of sdfs');
    expect(await refusal(readFileSync(new URL(import.meta.url)))).toContain('no dump of sdfs');
  });
});
