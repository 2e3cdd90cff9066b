// Reads a dump, compressed or not, line by line, and says whether it is whole.
import { createHash } from 'node:crypto';
import { createReadStream, openSync, readSync, closeSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { EXIT, UserError } from '../base/errors.ts';
import { parseBlockId } from '../base/ids.ts';
import type { BlockId } from '../base/ids.ts';
import type { Row } from '../metadata/engine.ts';
import { SCHEMA_VERSION } from '../metadata/schema.ts';
import { DUMP_FORMAT, DUMP_VERSION } from './dump-writer.ts';
import type { DumpHeader, DumpTrailer } from './dump-writer.ts';
import { parseRow } from './row-text.ts';

/** No line is longer: the largest rows are those of attributes and extents. */
const LINE_BYTES_MAX = 16 * 2 ** 20;
const GZIP = Buffer.of(0x1f, 0x8b);

export type DumpPart =
  | { readonly kind: 'header'; readonly header: DumpHeader }
  | { readonly kind: 'row'; readonly row: Row }
  | { readonly kind: 'data'; readonly id: BlockId; readonly data: Buffer }
  | { readonly kind: 'end'; readonly trailer: DumpTrailer };

/** All parts in order; the last is the end, which comes when everything before it was verified. UserError: damaged, unsupported, notFound. */
export async function* readDump(file: string): AsyncGenerator<DumpPart> {
  const hash = createHash('sha256');
  let header: DumpHeader | undefined;
  let trailer: DumpTrailer | undefined;
  let rows = 0;
  let data = 0;
  const counts: Record<string, number> = {};
  let number = 0;
  for await (const line of linesOf(file)) {
    number++;
    if (trailer !== undefined) throw damaged(file, `line ${number} follows its end`);
    const fields = parseLine(file, number, line);
    if (header === undefined) {
      header = checkHeader(file, fields);
      yield { kind: 'header', header };
    } else if (fields['end'] === true) {
      trailer = fields as unknown as DumpTrailer;
      continue;
    } else if (fields['row'] === 'data') {
      data++;
      yield { kind: 'data', id: parseBlockId(String(fields['block'])), data: Buffer.from(String(fields['data']), 'base64') };
    } else {
      rows++;
      const kind = String(fields['row']);
      counts[kind] = (counts[kind] ?? 0) + 1;
      yield { kind: 'row', row: rowOf(file, number, fields) };
    }
    hash.update(line).update('\n');
  }
  if (header === undefined) throw damaged(file, 'it is empty');
  if (trailer === undefined) throw damaged(file, `it ends after line ${number}, without its last line`);
  if (trailer.rows !== rows || trailer.data !== data) throw damaged(file, `it should have ${trailer.rows} rows, and has ${rows}`);
  if (JSON.stringify(trailer.counts) !== JSON.stringify(counts)) throw damaged(file, 'its rows are not of the kinds that it counts');
  if (trailer.sha256 !== hash.digest('hex')) throw damaged(file, 'its checksum does not fit');
  yield { kind: 'end', trailer };
}

/** Reads all of it. UserError as readDump. */
export async function verifyDump(file: string): Promise<{ header: DumpHeader; trailer: DumpTrailer }> {
  let header: DumpHeader | undefined;
  for await (const part of readDump(file)) {
    if (part.kind === 'header') ({ header } = part);
    if (part.kind === 'end') return { header: header!, trailer: part.trailer };
  }
  throw damaged(file, 'it has no end');
}

function checkHeader(file: string, fields: Record<string, unknown>): DumpHeader {
  if (fields['format'] !== DUMP_FORMAT) throw new UserError(`${file} is no dump of sdfs`, EXIT.damaged);
  const header = fields as unknown as DumpHeader;
  if (header.version > DUMP_VERSION || header.schema > SCHEMA_VERSION) throw new UserError(`${file} has version ${header.version} and schema ${header.schema}, and this sdfs knows ${DUMP_VERSION} and ${SCHEMA_VERSION}: it was written by a newer sdfs; install that one`, EXIT.unsupported);
  if (!Number.isSafeInteger(header.sequence) || typeof header.volume !== 'string') throw damaged(file, 'its first line is not what a dump begins with');
  return header;
}

function parseLine(file: string, number: number, line: Buffer): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(line.toString('utf8'));
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch {
    // Said below.
  }
  throw number === 1 ? new UserError(`${file} is no dump of sdfs`, EXIT.damaged) : damaged(file, `line ${number} is not JSON`);
}

function rowOf(file: string, number: number, fields: Record<string, unknown>): Row {
  try {
    return parseRow(fields);
  } catch (cause) {
    throw damaged(file, `line ${number} is no row: ${(cause as Error).message}`, cause);
  }
}

function damaged(file: string, detail: string, cause?: unknown): UserError {
  return new UserError(`the dump ${file} is damaged or cut short: ${detail}; take another one`, EXIT.damaged, { cause });
}

async function* linesOf(file: string): AsyncGenerator<Buffer> {
  const parts: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of bytesOf(file) as AsyncIterable<Buffer>) {
      let from = 0;
      for (let end = chunk.indexOf(0x0a); end >= 0; end = chunk.indexOf(0x0a, from)) {
        yield parts.length === 0 ? chunk.subarray(from, end) : Buffer.concat([...parts.splice(0), chunk.subarray(from, end)]);
        bytes = 0;
        from = end + 1;
      }
      if (from === chunk.length) continue;
      parts.push(chunk.subarray(from));
      bytes += chunk.length - from;
      if (bytes > LINE_BYTES_MAX) throw damaged(file, 'a line has no end');
    }
  } catch (cause) {
    if (cause instanceof UserError) throw cause;
    const code = (cause as NodeJS.ErrnoException).code ?? '';
    if (code === 'ENOENT') throw new UserError(`there is no file ${file}`, EXIT.notFound, { cause });
    if (code.startsWith('Z_')) throw damaged(file, 'it cannot be uncompressed', cause);
    throw cause;
  }
  if (parts.length > 0) throw damaged(file, 'its last line has no end');
}

function bytesOf(file: string): Readable {
  const start = Buffer.alloc(2);
  const fd = openSync(file, 'r');
  try {
    readSync(fd, start, 0, 2, 0);
  } finally {
    closeSync(fd);
  }
  const stream = createReadStream(file, { highWaterMark: 256 * 1024 });
  if (!start.equals(GZIP)) return stream;
  const gunzip = createGunzip();
  stream.on('error', (error) => gunzip.destroy(error));
  return stream.pipe(gunzip);
}
