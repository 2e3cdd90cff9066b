// A worker in memory with the faults of a real one: it dies, hangs, fills up, lies, and forgets what was not synced.
import { RowsDigester } from '../../src/ipc/rows-digest.ts';
import type { RowsDigest } from '../../src/ipc/rows-digest.ts';
import { ChannelClosedError, TimeoutError } from '../../src/base/errors.ts';
import type { BlockId, DriverEpoch, Sequence, Uuid, WorkerId } from '../../src/base/ids.ts';
import { blockIdFromKey, blockKey } from '../../src/base/ids.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { isNewerMembership } from '../../src/base/membership.ts';
import type { Membership } from '../../src/base/membership.ts';
import { blockChecksums } from '../../src/blocks/checksum.ts';
import { COPY_STATE, WorkerError } from '../../src/ipc/messages.ts';
import type { BlockPut, LogState, MessageName, ReplyOf, RequestOf, Row, WorkerErrorCode } from '../../src/ipc/messages.ts';
import type { ConnectWorker, WorkerClient } from '../../src/kv/worker-client.ts';
import { decodeRecord } from '../../src/log/record.ts';

interface StoredBlock {
  readonly data: Buffer;
  readonly checksums: Uint32Array;
  synced: boolean;
}

interface LogRecord {
  readonly epoch: DriverEpoch;
  readonly bytes: Buffer;
}

export const TEST_VOLUME = 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' as Uuid;

/** A uuid that looks random and is the same in every run. */
export function testUuid(number: number): Uuid {
  let text = '';
  for (let word = 0; word < 4; word++) text += (Math.imul(number * 4 + word + 1, 0x9e3779b1) >>> 0).toString(16).padStart(8, '0');
  return text as Uuid;
}

export class MemoryWorker {
  readonly worker: WorkerId;
  readonly disk: Uuid;
  readonly blocks = new Map<string, StoredBlock>();
  checkpoint: Row[] = [];
  /** What it says that the checkpoint has, where its disk is rotten. */
  lies: Row[] | undefined;
  log = new Map<number, LogRecord>();
  logState: LogState = { checkpointSequence: 0 as Sequence, lastSequence: 0 as Sequence, lastEpoch: 0 as DriverEpoch };
  /** Requests carried out, by name. */
  readonly counts = new Map<MessageName, number>();
  capacityBytes = Infinity;
  membership: Membership | null = null;
  device: number;
  hanging = false;
  /** Replies to getBlock that get a flipped bit. */
  flipReplies = 0;
  #seenEpoch = 0;
  #running = true;
  #staged: Row[] | undefined;
  readonly #clients = new Set<MemoryClient>();
  readonly #failures = new Map<MessageName, WorkerErrorCode>();
  readonly #deaths: { name: MessageName; when: 'before' | 'after' }[] = [];

  constructor(number: number, options: { device?: number } = {}) {
    this.worker = number as WorkerId;
    this.disk = testUuid(number);
    this.device = options.device ?? number;
  }

  readonly connect: ConnectWorker = () => {
    if (!this.#running) return Promise.reject(new Error(`connect ECONNREFUSED worker ${this.worker}`));
    const client = new MemoryClient(this);
    this.#clients.add(client);
    return Promise.resolve(client);
  };

  get running(): boolean {
    return this.#running;
  }

  /** As kill -9: channels break, what was written stays in the page cache. */
  kill(): void {
    this.#running = false;
    this.#staged = undefined;
    this.dropChannels();
  }

  dropChannels(): void {
    for (const client of [...this.#clients]) client.end(new ChannelClosedError(`worker ${this.worker} died`));
    this.#clients.clear();
  }

  restart(): void {
    this.kill();
    this.hanging = false;
    this.#running = true;
  }

  /** Kills itself at the next such message, before or after carrying it out; never answers it. */
  dieAt(name: MessageName, when: 'before' | 'after'): void {
    this.#deaths.push({ name, when });
  }

  /** Answers every such message with an error; undefined ends that. */
  failAt(name: MessageName, code: WorkerErrorCode | undefined): void {
    if (code === undefined) this.#failures.delete(name);
    else this.#failures.set(name, code);
  }

  /** The machine lost power: what was not synced is gone. */
  powerCut(): void {
    this.kill();
    for (const [key, block] of this.blocks) if (!block.synced) this.blocks.delete(key);
  }

  handle<M extends MessageName>(name: M, request: RequestOf<M>): ReplyOf<M> {
    const death = this.#deaths.findIndex((entry) => entry.name === name);
    const when = death < 0 ? undefined : this.#deaths.splice(death, 1)[0]!.when;
    if (when === 'before') throw this.#die();
    const failure = this.#failures.get(name);
    if (failure !== undefined) throw new WorkerError(failure, `worker ${this.worker} was told to fail ${name}`);
    this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
    const reply = this.#handlers[name](request);
    if (when === 'after') throw this.#die();
    return reply;
  }

  #die(): Error {
    this.kill();
    return new ChannelClosedError(`worker ${this.worker} died`);
  }

  readonly #handlers: { readonly [M in MessageName]: (request: RequestOf<M>) => ReplyOf<M> } = {
    hello: ({ volume, epoch }) => {
      if (volume !== TEST_VOLUME) throw new WorkerError('foreignVolume', 'another volume');
      if (epoch < this.#seenEpoch) throw new WorkerError('staleEpoch', `epoch ${epoch} is older than ${this.#seenEpoch}`);
      this.#seenEpoch = epoch;
      return { worker: this.worker, disk: this.disk, log: this.logState, membership: this.membership, statistics: this.#statistics() };
    },
    putBlocks: ({ blocks }) => this.#put(blocks),
    getBlock: ({ id, firstPiece, pieceCount }) => {
      const block = this.blocks.get(blockKey(id));
      if (block === undefined) throw new WorkerError('notFound', 'no such block');
      const data = Buffer.from(block.data.subarray(firstPiece * LIMITS.checksumBytes, (firstPiece + pieceCount) * LIMITS.checksumBytes));
      if (this.flipReplies > 0) {
        this.flipReplies--;
        data[data.length >> 1]! ^= 4;
      }
      return { blockBytes: block.data.length, checksums: block.checksums.slice(firstPiece, firstPiece + pieceCount), data };
    },
    deleteBlocks: ({ ids }) => {
      for (const id of ids) this.blocks.delete(blockKey(id));
      return {};
    },
    hasBlocks: ({ ids }) => ({ present: Buffer.from(ids.map((id) => (this.blocks.has(blockKey(id)) ? 1 : 0))) }),
    listBlocks: ({ after, limit }) => {
      const from = after === null ? '' : blockKey(after);
      const keys = [...this.blocks.keys()].filter((key) => key > from).toSorted((one, other) => (one < other ? -1 : 1)).slice(0, limit);
      return { blocks: keys.map((key) => ({ id: blockIdFromKey(key), bytes: this.blocks.get(key)!.data.length })) };
    },
    appendDump: () => ({}),
    commitDump: () => ({}),
    listDumps: () => ({ dumps: [] }),
    verifyBlocks: ({ ids }) => ({ states: Buffer.from(ids.map((id) => this.#stateOf(id))) }),
    syncBlocks: () => {
      for (const block of this.blocks.values()) block.synced = true;
      return {};
    },
    appendLog: ({ first, last, records }) => this.#append(first, last, Buffer.concat(records)),
    trimLog: ({ through }) => {
      for (const sequence of this.log.keys()) if (sequence <= through) this.log.delete(sequence);
      this.logState = { ...this.logState, checkpointSequence: Math.max(this.logState.checkpointSequence, through) as Sequence };
      return {};
    },
    readLog: ({ from, bytesMax }) => {
      const records: Buffer[] = [];
      let bytes = 0;
      for (let sequence: number = from; this.log.has(sequence); sequence++) {
        const record = this.log.get(sequence)!.bytes;
        if (records.length > 0 && bytes + record.length > bytesMax) break;
        records.push(record);
        bytes += record.length;
      }
      return { records: Buffer.concat(records) };
    },
    readCheckpoint: ({ after }) => ({ rows: (this.lies ?? this.checkpoint).filter(([key]) => after === null || Buffer.compare(key, after) > 0).slice(0, 2), digest: digestOf(this.checkpoint) }),
    checkCheckpoint: () => ({ state: this.lies === undefined ? 'whole' : 'damaged' }),
    beginCheckpoint: () => {
      this.#staged = [];
      return {};
    },
    loadCheckpoint: ({ rows }) => {
      if (this.#staged === undefined) throw new WorkerError('badRequest', 'no checkpoint was begun');
      this.#staged.push(...rows);
      return {};
    },
    commitCheckpoint: ({ sequence, epoch }) => {
      if (this.#staged === undefined) throw new WorkerError('badRequest', 'no checkpoint was begun');
      this.checkpoint = this.#staged;
      this.lies = undefined;
      this.#staged = undefined;
      this.log.clear();
      this.logState = { checkpointSequence: sequence, lastSequence: sequence, lastEpoch: epoch };
      return {};
    },
    recordMembership: ({ record }) => {
      if (this.membership !== null && isNewerMembership(this.membership, record)) throw new WorkerError('badRequest', 'older than what is there');
      this.membership = record;
      return {};
    },
    statistics: () => this.#statistics(),
  };

  #stateOf(id: BlockId): number {
    const block = this.blocks.get(blockKey(id));
    if (block === undefined) return COPY_STATE.missing;
    return blockChecksums(id, [block.data]).every((checksum, piece) => checksum === block.checksums[piece]) ? COPY_STATE.good : COPY_STATE.damaged;
  }

  #put(blocks: readonly BlockPut[]): Record<string, never> {
    const bytes = blocks.reduce((sum, { data }) => sum + data.reduce((all, piece) => all + piece.length, 0), 0);
    if (this.#usedBytes() + bytes > this.capacityBytes) throw new WorkerError('noSpace', 'full');
    for (const { id, checksums, data } of blocks) this.blocks.set(blockKey(id), { data: Buffer.concat(data), checksums: checksums.slice(), synced: false });
    return {};
  }

  #append(first: Sequence, last: Sequence, bytes: Buffer): { last: Sequence } {
    if (first > this.logState.lastSequence + 1) throw new WorkerError('gap', `record ${first} does not follow ${this.logState.lastSequence}`);
    for (let at = 0; at < bytes.length; ) {
      const header = decodeRecord(bytes, at);
      if (header === undefined) throw new WorkerError('badRequest', 'not a record');
      if (header.sequence > this.logState.lastSequence) {
        this.log.set(header.sequence, { epoch: header.epoch, bytes: Buffer.from(bytes.subarray(at, at + header.recordBytes)) });
        this.logState = { ...this.logState, lastSequence: header.sequence, lastEpoch: header.epoch };
      }
      at += header.recordBytes;
    }
    if (this.logState.lastSequence < last) throw new WorkerError('badRequest', `records end at ${this.logState.lastSequence}, not ${last}`);
    return { last: this.logState.lastSequence };
  }

  #usedBytes(): number {
    let bytes = 0;
    for (const { data } of this.blocks.values()) bytes += data.length;
    return bytes;
  }

  #statistics(): ReplyOf<'statistics'> {
    const total = Number.isFinite(this.capacityBytes) ? this.capacityBytes : 2 ** 40;
    return { totalBytes: total, availableBytes: total - this.#usedBytes(), blockBytes: this.#usedBytes(), blockCount: this.blocks.size, device: this.device, logBytes: 0 };
  }
}

class MemoryClient implements WorkerClient {
  readonly #worker: MemoryWorker;
  readonly #pending = new Set<(error: Error) => void>();
  #ended: Error | undefined;
  #listener: ((cause: Error) => void) | undefined;

  constructor(worker: MemoryWorker) {
    this.#worker = worker;
  }

  request<M extends MessageName>(name: M, request: RequestOf<M>, options: { readonly timeoutMs: number }): Promise<ReplyOf<M>> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => {
      const fail = (error: Error) => {
        clearTimeout(timer);
        this.#pending.delete(fail);
        reject(error);
      };
      const timer = setTimeout(() => fail(new TimeoutError(name, options.timeoutMs)), options.timeoutMs);
      this.#pending.add(fail);
      setImmediate(() => {
        if (!this.#pending.has(fail) || this.#worker.hanging) return;
        try {
          const reply = this.#worker.handle(name, request);
          clearTimeout(timer);
          this.#pending.delete(fail);
          resolve(reply);
        } catch (error) {
          fail(error as Error);
        }
      });
    });
  }

  onClose(listener: (cause: Error) => void): void {
    if (this.#ended !== undefined) listener(this.#ended);
    else this.#listener = listener;
  }

  close(): void {
    this.end(new ChannelClosedError('closed by this side'));
  }

  end(cause: Error): void {
    if (this.#ended !== undefined) return;
    this.#ended = cause;
    for (const fail of [...this.#pending]) fail(cause);
    this.#listener?.(cause);
  }
}

function digestOf(rows: readonly Row[]): RowsDigest {
  const digester = new RowsDigester();
  for (const [key, value] of rows) digester.add(key, value);
  return digester.digest;
}
