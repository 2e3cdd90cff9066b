// What the keeper asks a driver on behalf of people: status, and where a file's bytes lie.
import type { KvBlockEngine } from '../blocks/kv-engine.ts';
import { formatBlockId } from '../base/ids.ts';
import type { InodeNumber } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { DriverDumpStatus, DriverExtentInfo, DriverFileInfo, DriverStatus, DriverUpkeep } from '../ipc/process-messages.ts';
import type { LockEngine } from '../locks/lock-engine.ts';
import type { Members } from '../kv/membership.ts';
import type { WorkerPool } from '../kv/worker-pool.ts';
import { mappings } from '../metadata/extents.ts';
import { getInode, isRegular } from '../vfs/context.ts';
import type { VfsContext } from '../vfs/context.ts';
import { findStuck } from './stuck.ts';
import type { RequestsInWork } from './stuck.ts';

export async function status(parts: { pool: WorkerPool; members: Members; blocks: KvBlockEngine; context: VfsContext; locks: LockEngine | undefined; requests: RequestsInWork | undefined; upkeep: DriverUpkeep; dumps: DriverDumpStatus }): Promise<DriverStatus> {
  const { blocks, context, members, upkeep } = parts;
  await blocks.refreshStatistics(LIMITS.statisticsIntervalMs);
  const { totalBytes, availableBytes, details } = blocks.statistics();
  return {
    capacity: { totalBytes, availableBytes: Math.max(0, availableBytes - context.pending.bytes) },
    inodes: context.engine.inodeCount,
    pendingBytes: context.durability.lag.pendingBytes,
    degradedBlocks: upkeep.reconcile.endangeredBlocks,
    upkeep,
    dumps: parts.dumps,
    locks: parts.locks?.counts,
    stuck: findStuck({ links: parts.pool.links, requests: parts.requests, sync: context.durability.syncState }),
    disks: details.disks.map(({ worker, disk, state, statistics }) => ({ worker, connected: state === 'ready', member: members.record.members.includes(disk), holdsLog: members.record.log?.includes(disk) ?? true, statistics })),
    membership: { epoch: members.record.epoch, problem: members.problem },
  };
}

/** A file may have millions of extents; a person wants the first. */
const EXTENTS_MAX = 1000;

export async function fileInfo(parts: { pool: WorkerPool; context: VfsContext }, number: number): Promise<DriverFileInfo> {
  const { context } = parts;
  const inode = getInode(context.engine.reader, number as InodeNumber);
  const all = isRegular(inode.mode) ? mappings(context.engine.reader, inode.number, 0, inode.size) : [];
  const extents: DriverExtentInfo[] = [];
  for (const piece of all.slice(0, EXTENTS_MAX)) {
    const rides = context.pending.get(piece.block) !== undefined;
    extents.push({
      offset: piece.offset,
      bytes: piece.bytes,
      ...(rides ? {} : { block: formatBlockId(piece.block) }),
      copies: rides ? [] : await context.blocks.locate(piece.block),
    });
  }
  return { inode: number, mode: inode.mode, size: inode.size, extents, truncated: all.length > EXTENTS_MAX };
}
