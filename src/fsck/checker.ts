// What the parts of a check share: the rows of one moment, where findings go, and the pauses in which they are dealt with.
import type { MetadataView, Reader, Row } from '../metadata/engine.ts';
import { setAsideKey, setAsideValue } from '../metadata/row-types.ts';
import { numberOfKey } from '../metadata/schema.ts';
import type { InodeNumber } from '../base/ids.ts';
import type { Finding, FindingKind, Repair } from './finding.ts';
import { guarded, holdGarbage } from './finding.ts';
import { RowCursor } from './row-cursor.ts';

export interface CheckOptions {
  /** Inodes and blocks that are counted at once: memory is bounded by it, and time grows with the number of such windows. Default 2^20. */
  readonly windowRows?: number;
  /** Called between steps of about a millisecond; the finding's repair is part of it. */
  readonly onFinding: (finding: Finding) => Promise<void>;
  readonly onProgress?: (phase: string, done: number) => void;
  /** Rejects when the check is to end. */
  readonly pause: () => Promise<void>;
}

const WINDOW_ROWS = 2 ** 20;
/** Progress is told after so many rows. */
const PROGRESS_ROWS = 4096;
const SHORT_MAX = 1000;

export class Checker {
  readonly reader: Reader;
  readonly view: MetadataView;
  readonly windowRows: number;
  readonly #options: CheckOptions;
  readonly #waiting: Finding[] = [];
  /** Keys that are no keys, and were reported. */
  readonly #short = new Set<string>();
  #phase = '';
  #done = 0;

  constructor(view: MetadataView, options: CheckOptions) {
    this.view = view;
    this.reader = view.reader;
    this.windowRows = options.windowRows ?? WINDOW_ROWS;
    this.#options = options;
  }

  /** `keyBytesMin`: where keys need have no number behind their type. */
  cursor(range: readonly [Buffer, Buffer], { keyBytesMin }: { readonly keyBytesMin?: number } = {}): RowCursor {
    return new RowCursor(this.reader, range, () => this.pause(), (row) => this.#reportShort(row), keyBytesMin);
  }

  #reportShort(row: Row): false {
    const name = row[0].toString('hex');
    if (this.#short.has(name) || this.#short.size > SHORT_MAX) return false;
    this.#short.add(name);
    this.report({ kind: 'undecodable', subject: {}, detail: `a row with the key ${name}`, repair: setAside(row) });
    return false;
  }

  report(finding: Finding): void {
    this.#waiting.push(finding);
  }

  begin(phase: string): void {
    this.#phase = phase;
    this.#done = 0;
    this.#options.onProgress?.(phase, 0);
  }

  /** One more row was looked at. */
  step(): void {
    if (++this.#done % PROGRESS_ROWS === 0) this.#options.onProgress?.(this.#phase, this.#done);
  }

  async pause(): Promise<void> {
    await this.flush();
    await this.#options.pause();
  }

  /** Deals with what was found. */
  async flush(): Promise<void> {
    for (const finding of this.#waiting.splice(0)) await this.#options.onFinding(finding);
  }

  /** A row that cannot stay where it is. */
  reportRow(kind: FindingKind, [key, value]: Row, detail: string): void {
    this.report({ kind, subject: { inode: numberOfKey(key) as InodeNumber }, detail, repair: setAside([key, value]) });
  }
}

/** Takes a row out of the way, and keeps its bytes. */
export function setAside([key, value]: Row): Repair {
  return guarded([[key, value]], (tx) => {
    holdGarbage(tx);
    tx.put(setAsideKey(key), setAsideValue(value));
    tx.delete(key);
  });
}
