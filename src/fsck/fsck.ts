// One run of fsck: checks, repairs what it finds when asked to, and checks again until nothing is left that a repair helps.
import { EXIT, UserError } from '../base/errors.ts';
import { formatBlockId } from '../base/ids.ts';
import type { MetadataEngine } from '../metadata/engine.ts';
import { checkMetadata } from './check.ts';
import type { CheckSums } from './check.ts';
import { FINDINGS } from './finding.ts';
import type { Finding, FindingKind, RepairTools, Subject } from './finding.ts';
import { SubjectPaths } from './subject-paths.ts';

export interface FsckOptions {
  readonly repair: boolean;
  /** Examples of each kind that the report names. */
  readonly examplesMax: number;
  readonly windowRows?: number;
}

export interface FsckProgress {
  readonly round: number;
  readonly phase: string;
  readonly done: number;
}

export interface FsckExample {
  /** From the root of the file system; absent for what is not of a file, or has no name. */
  readonly paths: readonly string[];
  readonly detail: string;
}

export interface FsckFindings {
  readonly kind: FindingKind;
  readonly means: string;
  readonly count: number;
  readonly repaired: number;
  readonly examples: readonly FsckExample[];
}

export interface FsckReport {
  /** As found by the first look, with what was repaired in all. */
  readonly findings: readonly FsckFindings[];
  /** What the last look still found; the same as `findings` without a repair. */
  readonly left: readonly FsckFindings[];
  readonly rounds: number;
  readonly sequence: number;
  readonly sums: CheckSums;
  readonly tookMs: number;
}

/** More rounds than this are of no use: what is left cannot be repaired. */
const ROUNDS_MAX = 8;

/** Findings beside those of the rows: copies on the disks. */
export type MoreChecks = (report: (finding: Finding) => Promise<void>, round: number) => Promise<void>;

export interface FsckParts {
  readonly engine: MetadataEngine;
  readonly tools: RepairTools;
  /** What the file system counts as set aside in the volume. */
  readonly reservedBytes: () => number | undefined;
  readonly more?: MoreChecks | undefined;
  readonly onProgress: (progress: FsckProgress) => void;
  /** Rejects when the run is to end. */
  readonly pause: () => Promise<void>;
}

export async function runFsck(parts: FsckParts, options: FsckOptions): Promise<FsckReport> {
  const startMs = performance.now();
  let first: Collection | undefined;
  let repaired = new Map<FindingKind, number>();
  for (let round = 1; ; round++) {
    const { collection, sums, sequence } = await look(parts, options, round);
    first ??= collection;
    repaired = addAll(repaired, collection.repaired);
    if (!options.repair || collection.repairedCount === 0 || round === ROUNDS_MAX) {
      return {
        findings: first.report(repaired), left: options.repair ? collection.report(new Map()) : first.report(new Map()), rounds: round, sequence, sums,
        tookMs: Math.round(performance.now() - startMs),
      };
    }
  }
}

async function look(parts: FsckParts, options: FsckOptions, round: number): Promise<{ collection: Collection; sums: CheckSums; sequence: number }> {
  const { engine, tools, onProgress, pause, reservedBytes, more } = parts;
  const reserved = reservedBytes();
  const view = await engine.view();
  try {
    const collection = new Collection(options.examplesMax);
    const onFinding = async (finding: Finding): Promise<void> => {
      collection.add(finding, options.repair && finding.repair !== undefined && (await repair(finding, tools)));
    };
    const sums = await checkMetadata(view, {
      ...(options.windowRows !== undefined && { windowRows: options.windowRows }), reservedBytes: reserved, onFinding, pause,
      onProgress: (phase, done) => onProgress({ round, phase, done }),
    });
    onProgress({ round, phase: 'copies', done: 0 });
    await more?.(onFinding, round);
    onProgress({ round, phase: 'paths', done: 0 });
    await collection.findPaths(new SubjectPaths(view.reader, pause));
    return { collection, sums, sequence: view.sequence };
  } finally {
    view.close();
  }
}

async function repair(finding: Finding, tools: RepairTools): Promise<boolean> {
  try {
    return await finding.repair!(tools);
  } catch (cause) {
    throw new UserError(`a repair failed (${finding.kind}: ${finding.detail}): ${(cause as Error).message}`, EXIT.failure, { cause });
  }
}

function addAll(one: ReadonlyMap<FindingKind, number>, other: ReadonlyMap<FindingKind, number>): Map<FindingKind, number> {
  const sums = new Map(one);
  for (const [kind, count] of other) sums.set(kind, (sums.get(kind) ?? 0) + count);
  return sums;
}

/** Findings by kind: all counted, the first of each kept. */
class Collection {
  readonly #examplesMax: number;
  readonly #kinds = new Map<FindingKind, { count: number; examples: { subject: Subject; detail: string; paths: readonly string[] }[] }>();
  readonly repaired = new Map<FindingKind, number>();
  repairedCount = 0;

  constructor(examplesMax: number) {
    this.#examplesMax = examplesMax;
  }

  add({ kind, subject, detail, count = 1 }: Finding, repaired: boolean): void {
    const found = this.#kinds.get(kind) ?? { count: 0, examples: [] };
    this.#kinds.set(kind, found);
    found.count += count;
    if (found.examples.length < this.#examplesMax) found.examples.push({ subject, detail, paths: [] });
    if (!repaired) return;
    this.repaired.set(kind, (this.repaired.get(kind) ?? 0) + count);
    this.repairedCount++;
  }

  async findPaths(paths: SubjectPaths): Promise<void> {
    const examples = [...this.#kinds.values()].flatMap((found) => found.examples);
    const found = await paths.of(examples.map(({ subject }) => subject));
    examples.forEach((example, at) => { example.paths = found[at]!; });
  }

  report(repaired: ReadonlyMap<FindingKind, number>): FsckFindings[] {
    const kinds = [...new Set([...this.#kinds.keys(), ...repaired.keys()])];
    return kinds.map((kind) => {
      const { count, examples } = this.#kinds.get(kind) ?? { count: 0, examples: [] };
      return {
        kind, means: FINDINGS[kind].means, count: Math.max(count, repaired.get(kind) ?? 0), repaired: repaired.get(kind) ?? 0,
        examples: examples.map(({ paths, detail, subject }) => ({ paths, detail: subject.block === undefined || detail.includes(formatBlockId(subject.block)) ? detail : `${detail} (block ${formatBlockId(subject.block)})` })),
      };
    });
  }
}
