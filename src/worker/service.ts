// What each message means to the disk.
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import type { Membership } from '../base/membership.ts';
import { diskError } from '../disk/disk-error.ts';
import type { Disk } from '../disk/disk.ts';
import type { ReplyOf } from '../ipc/messages.ts';
import { WorkerError } from '../ipc/messages.ts';
import type { WorkerHandlers } from '../ipc/worker-server.ts';
import { CheckpointCheck } from './checkpoint-check.ts';

const EMPTY = {};
/** Rows of a reply to listBlocks fill at most half of a frame's head. */
const LIST_MAX = LIMITS.frameHeadBytesMax / 2 / 12;

export function diskHandlers(disk: Disk, log: Logger): WorkerHandlers {
  const { blocks, metadata, identity } = disk;
  const checks = new CheckpointCheck(metadata.checkpointDirectory, () => metadata.checkpointGeneration);
  const welcome = (): ReplyOf<'hello'> => {
    metadata.forgetTrim();
    return { worker: identity.worker, disk: identity.disk, log: metadata.state, membership: disk.membership, statistics: disk.statistics() };
  };
  const done = (work: Promise<unknown>): Promise<Record<string, never>> => work.then(() => EMPTY);
  return {
    hello: ({ volume, epoch }) => {
      if (volume !== identity.description.volume) throw new WorkerError('foreignVolume', `this is a disk of volume ${identity.description.volume}, not of ${volume}`);
      log.debug({ epoch }, 'a driver says hello');
      return metadata.replacing === undefined ? welcome() : metadata.replacing.then(welcome);
    },
    putBlocks: (request) => done(blocks.put(request.blocks)),
    getBlock: ({ id, firstPiece, pieceCount }) => blocks.read(id, firstPiece, pieceCount),
    deleteBlocks: ({ ids }) => done(blocks.delete(ids)),
    hasBlocks: ({ ids }) => ({ present: blocks.has(ids) }),
    listBlocks: ({ after, limit }) => ({ blocks: blocks.list(after, Math.min(limit, LIST_MAX)) }),
    verifyBlocks: ({ ids }) => blocks.verify(ids).then((states) => ({ states })),
    syncBlocks: () => done(blocks.sync()),
    appendLog: ({ first, last, records }) => metadata.append(first, last, Buffer.from(records[0]!.buffer, records[0]!.byteOffset, records[0]!.byteLength)).then((reached) => ({ last: reached })),
    trimLog: ({ through }) => {
      metadata.trim(through);
      return EMPTY;
    },
    readLog: ({ from, bytesMax }) => metadata.read(from, bytesMax).then((records) => ({ records })),
    readCheckpoint: ({ after, bytesMax }) => metadata.rows(after, bytesMax),
    checkCheckpoint: () => ({ state: checks.ask() }),
    beginCheckpoint: () => done(metadata.beginCheckpoint()),
    loadCheckpoint: ({ rows }) => done(metadata.loadCheckpoint(rows)),
    commitCheckpoint: ({ sequence, epoch }) => done(metadata.commitCheckpoint(sequence, epoch)),
    recordMembership: ({ record }) => {
      if (!recorded(disk, record)) throw new WorkerError('badRequest', `membership ${record.epoch} of driver ${record.driver} is not newer than what the disk has`);
      return EMPTY;
    },
    appendDump: ({ name, offset, bytes }) => {
      // Ordinary writes come first.
      if (disk.statistics().availableBytes === 0) throw new WorkerError('noSpace', 'the disk is full');
      return done(disk.dumps.append(name, offset, bytes.map((piece) => Buffer.from(piece))));
    },
    commitDump: ({ name, bytes, sha256 }) => done(disk.dumps.commit(name, bytes, sha256)),
    listDumps: () => ({ dumps: disk.dumps.list() }),
    statistics: () => disk.statistics(),
  };
}

function recorded(disk: Disk, record: Membership): boolean {
  try {
    return disk.recordMembership(record);
  } catch (error) {
    throw diskError(error, 'the membership cannot be recorded');
  }
}
