// Says what would be lost if some disks were lost now, and what not: files, metadata, what is still on its way, and whether
// the volume could go on.
import { statSync } from 'node:fs';
import { EXIT, UserError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Uuid, WorkerId } from '../base/ids.ts';
import { describeRefusal, mountRefusal } from '../base/membership.ts';
import type { Membership } from '../base/membership.ts';
import type { DriverDumpStatus, DriverStart, UpkeepAnswer, UpkeepQuestion, WhatIfAnswer } from '../ipc/process-messages.ts';
import type { BlockRows } from '../kv/block-census.ts';
import type { DiskReport } from '../kv/capacity.ts';
import { countLoss } from '../kv/loss.ts';
import type { LogReplicas } from '../kv/log-replicas.ts';
import type { Members } from '../kv/membership.ts';
import type { WorkerPool } from '../kv/worker-pool.ts';
import { findBlockOwners } from '../metadata/block-owners.ts';
import type { VfsContext } from '../vfs/context.ts';

export interface WhatIfSources {
  readonly start: DriverStart;
  readonly pool: WorkerPool;
  readonly members: Members;
  readonly replicas: LogReplicas;
  readonly context: VfsContext;
  readonly rows: BlockRows;
  readonly journalDirectory: string;
  readonly disks: () => readonly DiskReport[];
  readonly dumps: () => DriverDumpStatus;
}

export type WhatIfQuestion = Extract<UpkeepQuestion, { ask: 'whatIf' | 'whatIfResult' }>;

/** One at a time; the last answer is kept. */
export class WhatIf {
  readonly #parts: WhatIfSources;
  #ticket = 0;
  #result: WhatIfAnswer | Error | undefined;
  #running = false;
  #stopped = false;

  constructor(parts: WhatIfSources) {
    this.#parts = parts;
  }

  answer(question: WhatIfQuestion): UpkeepAnswer {
    if (question.ask === 'whatIf') return { ticket: this.#begin(question.lose) };
    if (question.ticket !== this.#ticket) throw new UserError('the driver was started again meanwhile, or somebody else asked: ask again', EXIT.failure);
    if (this.#result instanceof Error) throw this.#result;
    return this.#result === undefined ? {} : { whatIf: this.#result };
  }

  stop(): void {
    this.#stopped = true;
  }

  #begin(lose: readonly WorkerId[]): number {
    if (this.#running) throw new UserError('somebody asks the same already: wait until that is answered', EXIT.busy);
    const { pool } = this.#parts;
    const indexes = new Set(lose.map((worker) => {
      const index = pool.links.findIndex((link) => link.worker === worker);
      if (index < 0) throw new UserError(`the volume has no disk ${worker}`, EXIT.notFound);
      return index;
    }));
    this.#running = true;
    this.#result = undefined;
    this.#look(indexes)
      .then((answer) => { this.#result = answer; }, (error: Error) => { this.#result = error; })
      .finally(() => { this.#running = false; });
    return ++this.#ticket;
  }

  async #look(lose: ReadonlySet<number>): Promise<WhatIfAnswer> {
    const { pool, replicas, context, rows, start } = this.#parts;
    const { copies } = start.description;
    const workersOf = (indexes: Iterable<number>): WorkerId[] => [...indexes].map((index) => pool.link(index).worker);
    const loss = await countLoss({ pool, rows, copies, lose, isStopped: () => this.#stopped });
    const files = await findBlockOwners(context.engine.reader, loss.lost.ids);
    const complete = replicas.completeLogs();
    const holders = pool.links.flatMap((link, index) => (complete.includes(link.disk) ? [index] : []));
    const { records, pendingBytes } = context.durability.lag;
    const room = this.#room(lose, loss.unknown);
    const left = pool.links.filter((link, index) => !lose.has(index) && pool.isTarget(index) && link.isReady).length;
    return {
      version: 1, lose: workersOf(lose), unknown: workersOf([...loss.unknown].filter((index) => !lose.has(index))),
      sharing: this.#sharing(lose),
      all: loss.all, unreadable: loss.unreadable, fewer: loss.fewer,
      lost: { blocks: loss.lost.blocks, bytes: loss.lost.bytes, files, complete: loss.lost.ids.length === loss.lost.blocks && files.length < LIMITS.blockOwnersMax },
      metadata: { disks: workersOf(holders), left: workersOf(holders.filter((index) => !lose.has(index))), backups: (this.#parts.dumps().last?.disks ?? []).filter((worker) => !workersOf(lose).includes(worker)) },
      onTheWay: { bytes: pendingBytes, records, journalLost: this.#isJournalLost(lose) },
      mountRefusal: this.#refusal(lose),
      room: { neededBytes: loss.copyBytes, availableBytes: room, disks: left, enough: left >= copies && room >= loss.copyBytes },
    };
  }

  /** Why a mount would need --force-degraded. */
  #refusal(lose: ReadonlySet<number>): string | null {
    const { pool, members, start } = this.#parts;
    const found = new Map<Uuid, Membership | null>(pool.links.flatMap((link, index) => (!lose.has(index) && link.isReady ? [[link.disk, members.record] as const] : [])));
    const refusal = mountRefusal(found, { all: pool.links.map(({ disk }) => disk), copies: start.description.copies });
    return refusal === undefined ? null : describeRefusal(refusal, (disk) => `disk ${pool.links.find((link) => link.disk === disk)?.worker ?? disk}`);
  }

  /** What background copying may use on the disks that are left, each device once. */
  #room(lose: ReadonlySet<number>, unknown: ReadonlySet<number>): number {
    const devices = new Map<number, number>();
    for (const [index, { statistics }] of this.#parts.disks().entries()) {
      if (statistics === undefined || lose.has(index) || unknown.has(index) || !this.#parts.pool.isTarget(index)) continue;
      devices.set(statistics.device, Math.max(0, Math.floor(statistics.availableBytes - statistics.totalBytes * LIMITS.backgroundReserveFraction)));
    }
    return [...devices.values()].reduce((total, bytes) => total + bytes, 0);
  }

  /** Other disks on the devices of those that are lost. */
  #sharing(lose: ReadonlySet<number>): WorkerId[] {
    const disks = this.#parts.disks();
    const devices = new Set([...lose].flatMap((index) => disks[index]?.statistics?.device ?? []));
    return disks.flatMap(({ worker, statistics }, index) => (!lose.has(index) && statistics !== undefined && devices.has(statistics.device) ? [worker] : []));
  }

  /** The driver's journal may lie on one of them: what only it has goes with it. */
  #isJournalLost(lose: ReadonlySet<number>): boolean {
    const disks = this.#parts.disks();
    try {
      const { dev } = statSync(this.#parts.journalDirectory);
      return [...lose].some((index) => disks[index]?.statistics?.device === dev);
    } catch {
      return false;
    }
  }
}
