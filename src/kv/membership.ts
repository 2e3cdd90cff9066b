// Which disks are up to date, as the driver keeps it: leaves out those that stay away, takes in those that caught up.
//
// The rules are in base/membership.ts. Changes come one after the other. A change that too few disks recorded may be in
// effect or not, since an answer may have been lost: until a later one is, all are obeyed (`#uncertain`). Each is told
// to the keeper before any disk has it, so that a successor of this driver knows of it whatever is left by then.
import { FsError } from '../base/errors.ts';
import type { Uuid } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { FORCED_LEAP, isCurrent, isNewerMembership, mayFollow, mountRefusal, newestMembership } from '../base/membership.ts';
import type { KnownMembership, Membership, MountRefusal } from '../base/membership.ts';
import type { Degradation } from './replication.ts';
import type { WorkerLink } from './worker-link.ts';
import type { WorkerPool } from './worker-pool.ts';

type Proposal = Pick<Membership, 'members' | 'log'>;

/** What the members are asked about the disks, every second. */
export interface MembershipSources {
  /** Whether a disk that is no member has all that it should have. */
  hasCaughtUp(link: WorkerLink): boolean;
  /** Disks that have every record that was ever acknowledged. */
  completeLogs(): readonly Uuid[];
}

const TICK_MS = 1_000;
const RETRY_MS = 250;

export class Members {
  readonly #pool: WorkerPool;
  readonly #logger: Logger;
  readonly #tell: (known: KnownMembership) => void;
  /** In effect. */
  #record: Membership;
  /** Proposed after it, perhaps in effect. */
  #uncertain: Membership[] = [];
  #changes: Promise<void> = Promise.resolve();
  #changing = 0;
  /** Disks that are taken for up to date because somebody said so. */
  #believed: ReadonlySet<Uuid> | undefined;
  #problem: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /** Call it when the workers have said hello. `told`: what a former driver of this mount told the keeper. */
  constructor(pool: WorkerPool, options: { logger: Logger; tell: (known: KnownMembership) => void; told?: KnownMembership | undefined }) {
    this.#pool = pool;
    this.#logger = options.logger;
    this.#tell = options.tell;
    const all = pool.links.map(({ disk }) => disk);
    this.#record = options.told?.record ?? newestMembership(this.#found().values(), all);
    this.#uncertain = [...(options.told?.uncertain ?? [])];
    pool.listen({ ready: (link) => this.#bringUpToDate(link) });
  }

  get record(): Membership {
    return this.#record;
  }

  /** Why there are too few members, for status. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Why a mount must not begin with the disks that are there. */
  refusal(copies: number): MountRefusal | undefined {
    return mountRefusal(this.#found(), { all: this.#pool.links.map(({ disk }) => disk), copies });
  }

  /** Whether what this disk has of the metadata may be taken for the truth. */
  isCurrent(link: WorkerLink): boolean {
    if (link.hello === undefined) return false;
    return this.#believed?.has(link.disk) ?? isCurrent(this.#record, link.disk, link.hello.membership);
  }

  isMember(link: WorkerLink): boolean {
    return this.#record.members.includes(link.disk);
  }

  /**
   * The record with which a mount begins. Rejects with FsError EIO when too few disks take it. Where several disks are
   * away they are left out from the beginning: together they may have had all but one copy of what a driver left unsynced,
   * which nobody could wait for.
   */
  begin(): Promise<void> {
    const away = this.#pool.links.filter((link) => !link.isReady).map(({ disk }) => disk);
    return this.#change('a mount begins', ({ members, log }) => (away.length > 1 ? without({ members, log }, away) : { members, log }));
  }

  /** The user's word that the other disks are gone: what is here is to be believed. Before anything is read from them. */
  believe(): void {
    const here = this.#pool.links.filter((link) => link.isReady);
    const current = here.filter((link) => this.isCurrent(link));
    this.#believed = new Set((current.length > 0 ? current : here).map(({ disk }) => disk));
  }

  /** As `begin`, of those that are believed. `best`: the one with the newest metadata, if any has some. */
  force(best: Uuid | undefined): Promise<void> {
    const members = [...(this.#believed ?? [])];
    this.#record = { ...this.#record, epoch: this.#record.epoch + FORCED_LEAP, members };
    return this.#change('a mount was forced', () => ({ members, log: best === undefined ? null : [best] }), { former: [] });
  }

  start(sources: MembershipSources): void {
    this.#timer = setInterval(() => {
      this.review(sources)?.catch((error: unknown) => this.#logger.error({ err: error }, 'a change of membership failed; trying again'));
    }, TICK_MS);
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
  }

  /** True when all disks that must have a record of the log before it is acknowledged are among these. */
  covers(disks: readonly Uuid[]): boolean {
    if (this.#uncertain.length === 0) return isSubset(this.#record.log, disks);
    return isSubset(this.#record.log, disks) && this.#uncertain.every(({ log }) => isSubset(log, disks));
  }

  /** From now on these disks, and no others, are known to have all of the log. Rejects with FsError EIO. */
  entrust(disks: readonly Uuid[]): Promise<void> {
    return this.#change('the metadata log changed disks', ({ members }) => {
      // Who has the log is up to date as far as that goes, and a mount looks for the log among the members.
      return this.covers(disks) ? undefined : { members: [...new Set([...members, ...disks])], log: disks };
    });
  }

  /** A DegradedHook: disks that are away are no members any more before anything is acknowledged without them. */
  readonly beforeDegraded = ({ missing }: Degradation): Promise<void> | undefined => {
    const away = this.#pool.links.filter((link) => !link.isReady && missing.includes(link.worker)).map(({ disk }) => disk);
    if (this.#uncertain.length === 0 && !away.some((disk) => this.#record.members.includes(disk))) return undefined;
    return this.#change(`disks are away: ${away.join(', ')}`, (former) => without(former, away));
  };

  /** Leaves out disks that stay away, takes in those that caught up. Undefined when there is nothing to change, or no way to. */
  review(sources: MembershipSources): Promise<void> | undefined {
    if (this.#changing > 0) return undefined;
    const links = new Map(this.#pool.links.map((link) => [link.disk, link]));
    const gone = this.#record.members.filter((disk) => (links.get(disk)?.absentMs ?? Infinity) >= LIMITS.workerAbsenceMs);
    const back = this.#pool.links.filter((link) => link.isReady && !this.isMember(link) && sources.hasCaughtUp(link)).map(({ disk }) => disk);
    const complete = sources.completeLogs();
    const log = this.#record.log;
    const grown = log !== null && complete.some((disk) => !log.includes(disk) && this.#record.members.includes(disk));
    if (gone.length === 0 && back.length === 0 && !grown && this.#uncertain.length === 0 && !this.#isToBeConfirmed()) return undefined;
    if (!this.#mayChange()) {
      this.#complain();
      return undefined;
    }
    const propose = (former: Membership): Proposal => {
      const { members, log: kept } = without({ ...former, log: former.log === null ? null : [...new Set([...former.log, ...sources.completeLogs()])] }, gone);
      return { members: [...new Set([...members, ...back])], log: kept };
    };
    const reasons = [...gone.map((disk) => `disk ${disk} stays away`), ...back.map((disk) => `disk ${disk} has caught up`)];
    return this.#change(reasons.join(', ') || (grown ? 'the metadata log has a disk more' : 'the last change is in effect'), propose);
  }

  /**
   * As long as a record stands, a mount needs half of those that it follows, lest it is one that never came into effect. When
   * all its members are there, one more like it lets any of them be lost, and none but them be needed.
   */
  #isToBeConfirmed(): boolean {
    const { members, former } = this.#record;
    if (former.length === 0 || (former.length === members.length && members.every((disk) => former.includes(disk)))) return false;
    return members.every((disk) => this.#pool.links.some((link) => link.disk === disk && link.isReady));
  }

  #found(): Map<Uuid, Membership | null> {
    return new Map(this.#pool.links.filter((link) => link.isReady).map((link) => [link.disk, link.hello!.membership]));
  }

  #mayChange(): boolean {
    const ready = new Set(this.#pool.links.filter((link) => link.isReady).map(({ disk }) => disk));
    return [this.#record, ...this.#uncertain].every(({ members }) => mayFollow(members, ready));
  }

  #complain(): void {
    if (this.#problem !== undefined) return;
    const away = this.#record.members.filter((disk) => !this.#pool.links.some((link) => link.disk === disk && link.isReady));
    this.#problem = `more than half of the disks that were up to date are away (${away.join(', ')}): nothing is acknowledged with fewer copies until enough of them are back`;
    this.#logger.error({ away, membership: this.#record }, this.#problem);
  }

  #change(reason: string, propose: (former: Membership) => Proposal | undefined, options: { former?: readonly Uuid[] } = {}): Promise<void> {
    this.#changing++;
    const change = this.#changes.then(() => this.#changeNow(reason, propose, options)).finally(() => this.#changing--);
    this.#changes = change.catch(() => {});
    return change;
  }

  async #changeNow(reason: string, propose: (former: Membership) => Proposal | undefined, options: { former?: readonly Uuid[] }): Promise<void> {
    const startMs = performance.now();
    // Nothing is proposed that cannot come into effect: a proposal that does not binds as one that does.
    while (!this.#mayChange()) {
      if (this.#closed || performance.now() - startMs > LIMITS.workerAbsenceMs) throw this.#tooFew(reason);
      this.#complain();
      await pause();
    }
    const former = this.#record;
    const proposal = propose(former);
    if (proposal === undefined) return;
    const record: Membership = { epoch: Math.max(former.epoch, ...this.#uncertain.map(({ epoch }) => epoch)) + 1, driver: this.#pool.epoch, ...proposal, former: options.former ?? former.members };
    this.#uncertain.push(record);
    this.#tell({ record: former, uncertain: this.#uncertain });
    while (!(await this.#recordOn(record))) {
      if (this.#closed || performance.now() - startMs > LIMITS.workerAbsenceMs) throw this.#tooFew(reason);
      await pause();
    }
    this.#record = record;
    this.#uncertain = [];
    this.#problem = undefined;
    this.#tell({ record, uncertain: [] });
    const isNews = record.members.length !== former.members.length || record.members.some((disk) => !former.members.includes(disk));
    this.#logger[isNews ? 'warn' : 'info']({ reason, epoch: record.epoch, members: record.members, log: record.log }, 'the membership of the disks was recorded');
  }

  /** Whether it is in effect: at least half of all members that it follows have it, and those of what may be in effect. */
  async #recordOn(record: Membership): Promise<boolean> {
    const recorded = new Set<Uuid>();
    await Promise.all(this.#pool.links.filter((link) => link.isReady).map((link) => this.#send(link, record).then((done) => done && recorded.add(link.disk))));
    return [this.#record, ...this.#uncertain].every(({ members }) => mayFollow(members, recorded));
  }

  #send(link: WorkerLink, record: Membership): Promise<boolean> {
    return link.request('recordMembership', { record }, { absenceMs: 0 }).then(() => true, (error: unknown) => {
      this.#logger.warn({ err: error, worker: link.worker, epoch: record.epoch }, 'a disk did not record the membership');
      return false;
    });
  }

  /** What a disk knows that is not up to date keeps it from being taken for the truth. */
  #bringUpToDate(link: WorkerLink): void {
    const own = link.hello?.membership ?? null;
    if (this.#record.epoch > 0 && (own === null || isNewerMembership(this.#record, own))) void this.#send(link, this.#record);
  }

  #tooFew(reason: string): FsError {
    return new FsError('EIO', `the membership cannot be changed (${reason}): ${this.#problem ?? 'too few disks recorded it'}`);
  }
}

/** Without the disks that are away, unless nobody else has the log: without that there is nothing to mount. */
function without({ members, log }: Proposal, away: readonly Uuid[]): Proposal {
  const stays = (disk: Uuid): boolean => !away.includes(disk);
  if (log === null) return { members: members.filter(stays), log };
  const kept = log.filter(stays);
  if (kept.length > 0) return { members: members.filter(stays), log: kept };
  return { members: members.filter((disk) => stays(disk) || log.includes(disk)), log };
}

function isSubset(needed: readonly Uuid[] | null, disks: readonly Uuid[]): boolean {
  return needed !== null && needed.every((disk) => disks.includes(disk));
}

function pause(): Promise<void> {
  return new Promise((resolve) => { setTimeout(resolve, RETRY_MS); });
}
