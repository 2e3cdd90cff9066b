// Questions about the metadata as a whole, and the answers, as JSON: check it, write it out. Asked of the driver, mounted or not.

export type RescueQuestion =
  /** Begins a check. `examples`: how many of each kind are named. `copies`: look at the copies on the disks too. */
  | { readonly ask: 'fsck'; readonly repair: boolean; readonly examples: number; readonly copies: boolean }
  | { readonly ask: 'fsckResult'; readonly ticket: number }
  | { readonly ask: 'fsckEnd'; readonly ticket: number }
  /** Begins a dump; its text (src/dump/dump-writer.ts) is fetched in portions. */
  | { readonly ask: 'dump' }
  | { readonly ask: 'dumpText'; readonly ticket: number };

/** Value of the reply to the query 'rescue'. */
export interface RescueAnswer {
  readonly ticket?: number;
  readonly progress?: { readonly round: number; readonly phase: string; readonly done: number };
  /** Of a dump: what follows the last portion, and whether it is the end. */
  readonly text?: string;
  readonly end?: boolean;
  /** When it has ended. */
  readonly fsck?: FsckAnswer;
}

/** What `sdfs fsck --json` prints. */
export interface FsckAnswer {
  readonly version: 1;
  readonly findings: readonly FsckKind[];
  /** What is left after a repair; the same as `findings` without one. */
  readonly left: readonly FsckKind[];
  readonly rounds: number;
  /** Last change of the metadata that was looked at. */
  readonly sequence: number;
  readonly sums: { readonly inodes: number; readonly blocks: number; readonly keys: number; readonly reservedBytes: number; readonly setAside: number };
  readonly tookMs: number;
}

export interface FsckKind {
  /** A key of FINDINGS in src/fsck/finding.ts. */
  readonly kind: string;
  readonly means: string;
  /** True for what is no damage, and goes away by itself. */
  readonly note: boolean;
  readonly count: number;
  readonly repaired: number;
  readonly examples: readonly { readonly paths: readonly string[]; readonly detail: string }[];
}
