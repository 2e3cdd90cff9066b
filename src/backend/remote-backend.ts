// A store that another process has open: its calls over a socket (private-protocol.ts).
//
// A connection that is lost takes the calls under way with it. Reads are asked again on a new one, once; of writes and
// leases it is not known whether they were carried out, so that they end in CLOSED, and the caller decides.
import { LIMITS } from '../base/limits.ts';
import { overlap } from '../base/overlap.ts';
import { ReopenedError, StoreError } from '../keys/errors.ts';
import type { KeyRange } from '../keys/key-space.ts';
import type { LeaseGrant } from '../keys/leases.ts';
import type { Reply } from '../resp/reply-parser.ts';
import { isStaged } from './backend.ts';
import type { Change, ChangeResult, FoundValue, OpenValue, RangePage, ShardChange, StagedValue, StoreBackend, StoreStatistics } from './backend.ts';
import { IF_ABSENT, PIECE_BYTES } from './private-protocol.ts';
import { RemoteConnection } from './remote-connection.ts';
import type { Word } from './remote-connection.ts';

/** Keys in one GET: their values are in memory on both sides. */
const KEYS_PER_CALL = 128;
/** Pieces of a staged value that are on their way at once. */
const PIECES_MAX = 4;

/** Lies with the other process as long as the connection is there. */
class RemoteValue implements StagedValue {
  readonly connection: RemoteConnection;
  readonly id: number;
  readonly bytes: number;
  constructor(connection: RemoteConnection, { id, bytes }: { id: number; bytes: number }) {
    this.connection = connection;
    this.id = id;
    this.bytes = bytes;
  }
}

export class RemoteBackend implements StoreBackend {
  readonly #path: string;
  #connection: RemoteConnection;
  #connecting: Promise<RemoteConnection> | undefined;
  #lastStage = 0;
  #isClosed = false;

  private constructor(path: string, connection: RemoteConnection) {
    this.#path = path;
    this.#connection = connection;
  }

  /** StoreError CLOSED when no process listens at this socket, FOREIGN when it is an older one. */
  static async connect(path: string): Promise<RemoteBackend> {
    return new RemoteBackend(path, await RemoteConnection.open(path));
  }

  async get(key: Buffer): Promise<FoundValue | undefined> {
    const [found] = listOf(await this.#read('GET', key));
    return foundOf(found!);
  }

  async getMany(keys: readonly Buffer[]): Promise<(FoundValue | undefined)[]> {
    const found: (FoundValue | undefined)[] = [];
    for (let at = 0; at < keys.length; at += KEYS_PER_CALL) found.push(...listOf(await this.#read('GET', ...keys.slice(at, at + KEYS_PER_CALL))).map(foundOf));
    return found;
  }

  async has(key: Buffer): Promise<boolean> {
    return (await this.#read('HAS', key)) === 1;
  }

  async open(key: Buffer): Promise<OpenValue | undefined> {
    const answer = await this.#read('LENGTH', key);
    if (answer === null) return undefined;
    const [bytes, version, expiresMs] = numbersOf(answer);
    return { bytes: bytes!, version: version!, expiresMs: expiresMs!, read: async (offset, count) => bytesOf(await this.#read('READ', key, version!, offset, count)) };
  }

  async stage(value: Buffer | AsyncIterable<Uint8Array>): Promise<StagedValue> {
    const connection = await this.#connected();
    const id = ++this.#lastStage;
    let bytes = 0;
    const send = async (piece: Buffer): Promise<void> => {
      bytes += piece.length;
      if (bytes > LIMITS.valueBytesMax) throw new StoreError('TOO_LARGE', `a value of ${bytes} bytes or more; ${LIMITS.valueBytesMax} are allowed`);
      await connection.call('STAGE', id, piece);
    };
    try {
      await overlap(piecesOf(value), { atOnce: PIECES_MAX, work: send });
      return new RemoteValue(connection, { id, bytes: numberOf(await connection.call('STAGED', id)) });
    } catch (error) {
      connection.call('DISCARD', id).catch(() => {});
      throw error;
    }
  }

  discard(value: StagedValue): void {
    const { connection, id } = value as RemoteValue;
    connection.call('DISCARD', id).catch(() => {});
  }

  async commit(changes: readonly Change[], options: { readonly sync: boolean }): Promise<ChangeResult[]> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#commitOnce(changes, options);
      } catch (error) {
        // Nothing of it was done: what is in memory is sent again. What was staged cannot be.
        if (!(error instanceof ReopenedError) || attempt >= LIMITS.reopenedAttempts || changes.some(isStaged)) throw error;
      }
    }
  }

  async #commitOnce(changes: readonly Change[], { sync }: { readonly sync: boolean }): Promise<ChangeResult[]> {
    const connection = await this.#connected();
    const large: RemoteValue[] = [];
    try {
      const words: Word[] = [sync ? 1 : 0];
      for (const change of changes) words.push(...(await this.#changeWords(change, connection, large)));
      const answers = numbersOf(await connection.call('COMMIT', ...words));
      return changes.map((_, index) => ({ version: answers[2 * index]!, found: answers[2 * index + 1] === 1 }));
    } catch (error) {
      for (const value of large) this.discard(value);
      throw error;
    }
  }

  async #changeWords(change: Change, connection: RemoteConnection, large: RemoteValue[]): Promise<Word[]> {
    if (change.kind === 'expire') return ['expire', change.key, '', 0, change.expiresMs, ''];
    const condition = change.ifAbsent === true ? IF_ABSENT : (change.ifVersion ?? '');
    if (change.kind === 'delete') return ['delete', change.key, '', 0, 0, condition];
    let { value } = change;
    if (Buffer.isBuffer(value) && value.length > LIMITS.inlineBytesMax) {
      value = await this.stage(value);
      large.push(value as RemoteValue);
    }
    if (Buffer.isBuffer(value)) return ['set', change.key, value, 0, change.expiresMs, condition];
    const staged = value as RemoteValue;
    if (staged.connection !== connection) throw new StoreError('CLOSED', 'the process that has the store open is gone, and with it what was sent to it for this change: nothing of it was done');
    return ['set', change.key, staged.id, 1, change.expiresMs, condition];
  }

  async page({ start, end, reverse }: KeyRange, { limit, values }: { readonly limit: number; readonly values: boolean }): Promise<RangePage> {
    const words = [start === undefined ? 0 : 1, start ?? '', end === undefined ? 0 : 1, end ?? '', reverse === true ? 1 : 0, limit, values ? 1 : 0];
    const [more, list] = listOf(await this.#read('PAGE', ...words));
    const cells = listOf(list!);
    const rows = [];
    for (let at = 0; at < cells.length; at += 4) {
      const [key, value, version, expiresMs] = cells.slice(at, at + 4);
      rows.push({ key: bytesOf(key!), value: value === null ? undefined : bytesOf(value!), version: numberOf(version!), expiresMs: numberOf(expiresMs!) });
    }
    return { rows, more: more === 1 };
  }

  async acquire(name: Buffer, { ttlMs, waitMs }: { readonly ttlMs: number; readonly waitMs: number }): Promise<LeaseGrant | undefined> {
    return grantOf(await this.#call('ACQUIRE', name, Math.ceil(ttlMs), Math.ceil(Math.min(waitMs, LIMITS.timerMsMax))));
  }

  async renew(name: Buffer, token: number, ttlMs: number): Promise<LeaseGrant | undefined> {
    return grantOf(await this.#call('RENEW', name, token, Math.ceil(ttlMs)));
  }

  async release(name: Buffer, token: number): Promise<boolean> {
    return (await this.#call('RELEASE', name, token)) === 1;
  }

  async statistics(): Promise<StoreStatistics> {
    return JSON.parse(bytesOf(await this.#read('STATS')).toString()) as StoreStatistics;
  }

  async changeShards(change: ShardChange): Promise<number> {
    return numberOf(await this.#call('SHARDS', JSON.stringify(change)));
  }

  async sync(): Promise<void> {
    await this.#call('SYNC');
  }

  /** Of this process's end alone: the store stays open where it is. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#connection.end();
    await this.#connecting?.catch(() => {});
  }

  async #read(name: string, ...words: readonly Word[]): Promise<Reply> {
    const connection = await this.#connected();
    try {
      return await connection.call(name, ...words);
    } catch (error) {
      if (connection.isOpen || this.#isClosed) throw error;
      return this.#call(name, ...words);
    }
  }

  async #call(name: string, ...words: readonly Word[]): Promise<Reply> {
    return (await this.#connected()).call(name, ...words);
  }

  /** The connection, or a new one where it was lost. */
  async #connected(): Promise<RemoteConnection> {
    if (this.#isClosed) throw new StoreError('CLOSED', 'the store is closed');
    if (this.#connection.isOpen) return this.#connection;
    this.#connecting ??= RemoteConnection.open(this.#path).finally(() => { this.#connecting = undefined; });
    const connection = await this.#connecting;
    if (this.#isClosed) connection.end();
    else this.#connection = connection;
    return connection;
  }
}

async function* piecesOf(value: Buffer | AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  for await (const part of Buffer.isBuffer(value) ? [value] : value) {
    if (!(part instanceof Uint8Array)) throw new StoreError('INVALID', `a stream of bytes gave ${part === null ? 'null' : typeof part}`);
    // What the caller may write over is copied by the socket before it asks for more only where it is small.
    const bytes = Buffer.from(part);
    for (let at = 0; at < bytes.length; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES);
  }
}

function strange(answer: Reply | undefined): StoreError {
  return new StoreError('FOREIGN', `the store gave an answer of another kind: ${String(answer)}`);
}

function listOf(answer: Reply): readonly Reply[] {
  if (!Array.isArray(answer)) throw strange(answer);
  return answer as readonly Reply[];
}

function numberOf(answer: Reply): number {
  if (typeof answer !== 'number') throw strange(answer);
  return answer;
}

function numbersOf(answer: Reply): readonly number[] {
  return listOf(answer).map(numberOf);
}

/** A copy where it is small, since it is a view of all that came with it. */
function bytesOf(answer: Reply): Buffer {
  if (!Buffer.isBuffer(answer)) throw strange(answer);
  return answer.length <= LIMITS.inlineBytesMax ? Buffer.from(answer) : answer;
}

function foundOf(answer: Reply): FoundValue | undefined {
  if (answer === null) return undefined;
  const [value, version, expiresMs] = listOf(answer);
  return { value: bytesOf(value!), version: numberOf(version!), expiresMs: numberOf(expiresMs!) };
}

function grantOf(answer: Reply): LeaseGrant | undefined {
  if (answer === null) return undefined;
  const [token, expiresMs] = numbersOf(answer);
  return { token: token!, expiresMs: expiresMs! };
}
