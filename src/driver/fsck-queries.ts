// Runs fsck in the driver when it is asked for: over the rows of the metadata, then over the copies on the disks.
import type { KvBlockEngine } from '../blocks/kv-engine.ts';
import { EXIT, UserError } from '../base/errors.ts';
import { compareBlockIds } from '../base/ids.ts';
import type { BlockId, InodeNumber } from '../base/ids.ts';
import type { Finding, RepairTools } from '../fsck/finding.ts';
import { runFsck } from '../fsck/fsck.ts';
import type { FsckProgress, FsckReport } from '../fsck/fsck.ts';
import type { FsckAnswer, RescueAnswer, RescueQuestion } from '../ipc/rescue-messages.ts';
import type { LocalKeySpace } from '../keys/local-key-space.ts';
import type { LogReplicas } from '../kv/log-replicas.ts';
import type { WorkerPool } from '../kv/worker-pool.ts';
import { findBlockOwners } from '../metadata/block-owners.ts';
import type { VfsContext } from '../vfs/context.ts';
import type { DriverBlockUpkeep } from './block-upkeep.ts';

export interface FsckSources {
  readonly context: VfsContext;
  readonly pool: WorkerPool;
  readonly blocks: KvBlockEngine;
  readonly replicas: LogReplicas;
  readonly upkeep: DriverBlockUpkeep;
  readonly copies: number;
  /** Of all areas. */
  readonly keySpaces: readonly LocalKeySpace[];
  /** Nobody but fsck changes anything: the volume is not mounted. */
  readonly exclusive: boolean;
}

type Run = { progress: FsckProgress; ended: FsckReport | Error | undefined; cancelled: boolean };
type Begin = Extract<RescueQuestion, { ask: 'fsck' }>;

const UNREADABLE_NAMED_MAX = 1000;

/** One run at a time; the last one's result is kept. */
export class DriverFsck {
  readonly #parts: FsckSources;
  #run: Run | undefined;
  #ticket = 0;

  constructor(parts: FsckSources) {
    this.#parts = parts;
  }

  begin(question: Begin): RescueAnswer {
    if (this.#run !== undefined && this.#run.ended === undefined) throw new UserError('a check is going on already: wait until it has ended', EXIT.busy);
    const run: Run = { progress: { round: 1, phase: 'files', done: 0 }, ended: undefined, cancelled: false };
    this.#run = run;
    this.#check(question, run).then((report) => { run.ended = report; }, (error: Error) => { run.ended = error; });
    return { ticket: ++this.#ticket };
  }

  result(ticket: number): RescueAnswer {
    const run = this.#find(ticket);
    if (run.ended instanceof Error) throw run.ended;
    return { progress: run.progress, ...(run.ended !== undefined && { fsck: answerOf(run.ended) }) };
  }

  cancel(ticket: number): RescueAnswer {
    this.#find(ticket).cancelled = true;
    return {};
  }

  /** The driver is ending. */
  stop(): void {
    if (this.#run !== undefined) this.#run.cancelled = true;
  }

  #find(ticket: number): Run {
    if (this.#run === undefined || ticket !== this.#ticket) throw new UserError('the driver was started again meanwhile, or somebody else began a check: ask again', EXIT.failure);
    return this.#run;
  }

  async #check({ repair, examples, copies }: Begin, run: Run): Promise<FsckReport> {
    const { context, upkeep } = this.#parts;
    const report = await runFsck({
      engine: context.engine, tools: this.#tools(), reservedBytes: () => context.space.reservedBytes,
      onProgress: (progress) => { run.progress = progress; },
      pause: () => new Promise((resolve, reject) => {
        setImmediate(() => (run.cancelled ? reject(new UserError('the check was ended before it was done', EXIT.failure)) : resolve()));
      }),
      ...(copies && { more: (take) => this.#checkCopies(take) }),
    }, { repair, examplesMax: examples });
    // What was set aside, or is not known, may name blocks that nothing else does.
    if (repair && (report.sums.setAside > 0 || report.left.some(({ kind }) => kind === 'blockMissing'))) upkeep.holdGarbage();
    if (repair) await context.durability.sync();
    return report;
  }

  #tools(): RepairTools {
    const { context, exclusive } = this.#parts;
    return {
      transact: (work) => context.engine.transact(null, work),
      reader: context.engine.reader,
      newInode: () => context.allocator.inode(),
      blockBytes: (id) => this.#blockBytes(id),
      correctInodeCount: (delta) => context.engine.correctInodeCount(delta),
      correctKeyCount: (area, delta) => this.#parts.keySpaces.find((space) => space.area === area)!.correctCount(delta),
      reserved: (delta) => { context.space.reservedBytes += delta; },
      exclusive,
    };
  }

  /** As the disks have it; the longest copy counts. */
  async #blockBytes(id: BlockId): Promise<number | undefined> {
    const pending = this.#parts.context.pending.get(id);
    if (pending !== undefined) return pending.length;
    const after = id.lo > 0 ? { hi: id.hi, lo: id.lo - 1 } : id.hi > 0 ? { hi: id.hi - 1, lo: 0xffff_ffff } : null;
    const found = await Promise.all(this.#parts.pool.links.filter((link) => link.isReady).map(async (link) => {
      const { blocks } = await link.request('listBlocks', { after, limit: 1 }, { absenceMs: 0 });
      return blocks[0] !== undefined && compareBlockIds(blocks[0].id, id) === 0 ? blocks[0].bytes : 0;
    }));
    const bytes = Math.max(0, ...found);
    return bytes === 0 ? undefined : bytes;
  }

  async #checkCopies(report: (finding: Finding) => Promise<void>): Promise<void> {
    const { context, replicas, upkeep, copies } = this.#parts;
    const { counts } = await upkeep.upkeep.reconcile({ dryRun: true });
    const files = await findBlockOwners(context.engine.reader, counts.unreadable.slice(0, UNREADABLE_NAMED_MAX));
    for (const { inode, key, ranges } of files) {
      const subject = key === undefined ? { inode: inode as InodeNumber } : {};
      await report({ kind: 'copiesNone', subject, count: ranges.length, detail: `${key === undefined ? `inode ${inode}` : `key ${JSON.stringify(key)}`}: ${ranges.map(({ offset, bytes }) => `bytes ${offset} to ${offset + bytes}`).join(', ')}` });
    }
    let made: Promise<boolean> | undefined;
    const make = (): Promise<boolean> => (made ??= upkeep.upkeep.reconcile({ dryRun: false }).then(({ complete }) => complete));
    const few = counts.found.reduce((sum, blocks, have) => sum + (have > 0 ? blocks : 0), 0);
    if (few > 0) await report({ kind: 'copiesFew', subject: {}, count: few, detail: `${few} blocks have fewer than ${copies} copies`, repair: make });
    if (counts.misplaced > 0) await report({ kind: 'copiesMisplaced', subject: {}, count: counts.misplaced, detail: `${counts.misplaced} blocks`, repair: make });
    if (counts.garbageCopies > 0) await report({ kind: 'copiesUnknown', subject: {}, count: counts.garbageCopies, detail: `${counts.garbageCopies} copies, ${counts.garbageBytes} bytes` });
    const behind = copies - replicas.completeLogs().length;
    if (context.engine.lastSequence > 0 && behind > 0) await report({ kind: 'logCopies', subject: {}, count: behind, detail: `${copies - behind} of ${copies} disks have all of the metadata` });
  }
}

/** What comes and goes on a volume that is in use, and is no damage. */
const NOTES: ReadonlySet<string> = new Set(['copiesMisplaced', 'copiesUnknown', 'unknownRows']);

function answerOf({ findings, left, rounds, sequence, sums, tookMs }: FsckReport): FsckAnswer {
  const kindsOf = (all: FsckReport['findings']): FsckAnswer['findings'] => all.map((found) => ({ ...found, note: NOTES.has(found.kind) }));
  return { version: 1, findings: kindsOf(findings), left: kindsOf(left), rounds, sequence, sums, tookMs };
}

