// The messages between a driver and a worker, as types. ipc/codec.ts gives each its bytes.
import type { BlockId, DriverEpoch, Sequence, Uuid, WorkerId } from '../base/ids.ts';
import type { RowsDigest } from './rows-digest.ts';
import type { Membership } from '../base/membership.ts';

/** A block on its way to a worker. Checksums: CRC-32 of each 16 KiB piece, seeded (see ipc/piece-checksum.ts). */
export interface BlockPut {
  readonly id: BlockId;
  readonly checksums: Uint32Array;
  /** The bytes, in one or more pieces that are sent without being joined. */
  readonly data: readonly Uint8Array[];
}

/** Pieces `firstPiece … firstPiece+checksums.length-1` of a block, each 16 KiB but the block's last. */
export interface BlockPieces {
  /** Length of the whole block, in bytes. */
  readonly blockBytes: number;
  readonly checksums: Uint32Array;
  readonly data: Buffer;
}

export interface DiskStatistics {
  /** Bytes of the file system that holds the disk directory. */
  totalBytes: number;
  /** Bytes that ordinary writes may still use (the reserve taken off). */
  availableBytes: number;
  /** Bytes that blocks take here, live and dead. */
  blockBytes: number;
  blockCount: number;
  /** st_dev: directories with the same device share capacity and die together. */
  device: number;
  /** Bytes of redo log not yet trimmed. */
  logBytes: number;
}

/** What a worker has of the metadata: its checkpoint and the log behind it. Sequences are 0 when there is nothing. */
export interface LogState {
  /** All records up to here are applied to the checkpoint. */
  checkpointSequence: Sequence;
  /** Last record in the log, = checkpointSequence when the log is empty. */
  lastSequence: Sequence;
  /** Driver epoch of the last record. */
  lastEpoch: DriverEpoch;
}

/** One row of the ordered key space. */
export type Row = readonly [key: Buffer, value: Buffer];

/**
 * Request and reply of every message. A worker answers each request exactly once; errors travel as
 * WorkerError with a code. Requests of one connection may be answered out of order, but those that change the
 * same thing take effect in the order sent.
 */
export interface WorkerMessages {
  /** First message of a connection. An older epoch than one seen before is refused ('staleEpoch') for good. */
  hello: {
    request: { volume: Uuid; epoch: DriverEpoch };
    reply: { worker: WorkerId; disk: Uuid; log: LogState; membership: Membership | null; statistics: DiskStatistics };
  };
  /** Stores blocks, process-proof when answered. An id that is there already is replaced. 'noSpace' stores none of them. */
  putBlocks: { request: { blocks: readonly BlockPut[] }; reply: Record<string, never> };
  /** Reads whole checksummed pieces. 'notFound' when the block is not here. Not verified by the worker: the asker does. */
  getBlock: { request: { id: BlockId; firstPiece: number; pieceCount: number }; reply: BlockPieces };
  /** Forgets blocks; ids that are not here are no error. */
  deleteBlocks: { request: { ids: readonly BlockId[] }; reply: Record<string, never> };
  /** Which of these blocks are here: one byte each, 1 or 0. */
  hasBlocks: { request: { ids: readonly BlockId[] }; reply: { present: Buffer } };
  /** Up to `limit` block ids greater than `after`, in order, with their lengths. */
  listBlocks: { request: { after: BlockId | null; limit: number }; reply: { blocks: { id: BlockId; bytes: number }[] } };
  /**
   * Reads these blocks from the disk itself, header and every byte, and checks them: one byte each of COPY_STATE. The
   * blocks should have no more than a few MiB together, since it takes as long as reading them.
   */
  verifyBlocks: { request: { ids: readonly BlockId[] }; reply: { states: Buffer } };
  /** All blocks put before are power-proof when answered. */
  syncBlocks: { request: Record<string, never>; reply: Record<string, never> };
  /**
   * Appends log records (whole ones, see log/record.ts, back to back in `records`) that follow lastSequence without a gap, and makes
   * them power-proof. Records that are there already (sequence <= lastSequence) are skipped. 'gap' when some are missing.
   */
  appendLog: { request: { first: Sequence; last: Sequence; epoch: DriverEpoch; records: readonly Uint8Array[] }; reply: { last: Sequence } };
  /** Records up to `through` may be applied to the checkpoint and dropped from the log; done lazily. */
  trimLog: { request: { through: Sequence }; reply: Record<string, never> };
  /** Log records from `from` on (first whole ones, up to `bytesMax`); empty at the end. */
  readLog: { request: { from: Sequence; bytesMax: number }; reply: { records: Buffer } };
  /** Rows of the checkpoint with keys greater than `after`, in order, up to `bytesMax`; empty at the end. `digest`: what all of them should add up to; null when an older sdfs made the checkpoint. */
  readCheckpoint: { request: { after: Buffer | null; bytesMax: number }; reply: { rows: Row[]; digest: RowsDigest | null } };
  /**
   * Begins to read the whole checkpoint and to compare it with its digest, in a process of its own, or says how that stands: it
   * takes as long as reading it. What was found is said once; 'unknown' when it could not be read through.
   */
  checkCheckpoint: { request: Record<string, never>; reply: { state: CheckpointState } };
  /** Replaces checkpoint and log: begin, rows in key order, commit. Until the commit the old ones stay. */
  beginCheckpoint: { request: Record<string, never>; reply: Record<string, never> };
  loadCheckpoint: { request: { rows: readonly Row[] }; reply: Record<string, never> };
  commitCheckpoint: { request: { sequence: Sequence; epoch: DriverEpoch }; reply: Record<string, never> };
  /** Replaces an older record; power-proof when answered. 'badRequest' when the disk has a newer one. */
  recordMembership: { request: { record: Membership }; reply: Record<string, never> };
  statistics: { request: Record<string, never>; reply: DiskStatistics };
  /** Writes a piece of a backup of the metadata; offset 0 begins it. `name`: see disk/dump-store.ts. */
  appendDump: { request: { name: string; offset: number; bytes: readonly Uint8Array[] }; reply: Record<string, never> };
  /** It is whole: read back, and when it is what was sent, it takes the place of the last one. 'damaged' when it is not. */
  commitDump: { request: { name: string; bytes: number; sha256: Buffer }; reply: Record<string, never> };
  listDumps: { request: Record<string, never>; reply: { dumps: { name: string; bytes: number }[] } };
}

/** What a worker found of a copy: not there, as it was put, or not. */
export const COPY_STATE = { missing: 0, good: 1, damaged: 2 } as const;

export const CHECKPOINT_STATES = ['checking', 'whole', 'damaged', 'unknown'] as const;
export type CheckpointState = (typeof CHECKPOINT_STATES)[number];

export type MessageName = keyof WorkerMessages;
export type RequestOf<M extends MessageName> = WorkerMessages[M]['request'];
export type ReplyOf<M extends MessageName> = WorkerMessages[M]['reply'];

export const WORKER_ERROR_CODES = ['notFound', 'noSpace', 'readOnly', 'damaged', 'staleEpoch', 'foreignVolume', 'gap', 'badRequest', 'diskFailure', 'internal'] as const;
export type WorkerErrorCode = (typeof WORKER_ERROR_CODES)[number];

/** The worker answered, with an error. */
export class WorkerError extends Error {
  override readonly name = 'WorkerError';
  readonly code: WorkerErrorCode;
  constructor(code: WorkerErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
