// What should become of the copies of one block, given who has it, where it belongs, and which disks are there.
import { assert } from '../base/assert.ts';

/** ready: there. away: expected back, and what it has is believed. lost: away for so long that others take its place. */
export type DiskPresence = 'ready' | 'away' | 'lost';

export interface DiskView {
  readonly presence: DiskPresence;
  /** Whether blocks belong there: not on a disk that is being emptied. */
  readonly target: boolean;
  /** Whether it may take more copies. */
  readonly hasRoom: boolean;
}

export interface CopyPlan {
  /** Ready disks that should get a copy, best first. */
  readonly copyTo: readonly number[];
  /** Disks with good copies where none belongs: to be dropped when all of `keep` have one. */
  readonly drop: readonly number[];
  /** Disks where the copies belong, R of them if so many can have it. */
  readonly keep: readonly number[];
}

/** `ranking`: disks, best first. `holders`: ready disks with a copy that is good as far as is known. */
export function planCopies(block: { readonly ranking: readonly number[]; readonly holders: readonly number[] }, disks: readonly DiskView[], copies: number): CopyPlan {
  const keep: number[] = [];
  const copyTo: number[] = [];
  for (const index of block.ranking) {
    if (keep.length === copies) break;
    const { presence, target, hasRoom } = disks[index]!;
    if (!target || presence === 'lost') continue;
    const has = block.holders.includes(index);
    // A full disk keeps what it has; another one takes its place where it has nothing.
    if (presence === 'ready' && !has && !hasRoom) continue;
    keep.push(index);
    if (presence === 'ready' && !has) copyTo.push(index);
  }
  // On disks that are not there nothing can be known: then every copy that is known stays.
  const certain = keep.length === copies && keep.every((index) => disks[index]!.presence === 'ready');
  const drop = certain ? block.holders.filter((index) => !keep.includes(index)) : [];
  assert(drop.length === 0 || keep.length >= copies, 'a copy is dropped only beside R others');
  return { copyTo, drop, keep };
}
