// Walks a range of rows in order, a page at a time, and lets others work between the pages.
import type { InodeNumber } from '../base/ids.ts';
import type { Reader, Row } from '../metadata/engine.ts';
import { keyAfter, numberOfKey } from '../metadata/schema.ts';

/** About a millisecond of work. */
const PAGE_ROWS = 256;

/** Type and number. */
const KEY_BYTES_MIN = 9;

/** Called between pages. */
export type Pause = () => Promise<void>;

export class RowCursor {
  readonly #reader: Reader;
  readonly #end: Buffer;
  readonly #pause: Pause;
  readonly #onShort: (row: Row) => false;
  readonly #keyBytesMin: number;
  #start: Buffer | undefined;
  #page: Row[] = [];
  #at = 0;

  /** `onShort` gets the rows whose keys are too short for the number that they should have, and the walk leaves them out. */
  constructor(reader: Reader, [start, end]: readonly [Buffer, Buffer], pause: Pause, onShort: (row: Row) => false, keyBytesMin = KEY_BYTES_MIN) {
    this.#reader = reader;
    this.#start = start;
    this.#end = end;
    this.#pause = pause;
    this.#onShort = onShort;
    this.#keyBytesMin = keyBytesMin;
  }

  /** The next row, which stays; undefined when the page is used up: `fill` then tells whether there is another. */
  get head(): Row | undefined {
    return this.#page[this.#at];
  }

  skip(): void {
    this.#at++;
  }

  /** True when there is a row. */
  async fill(): Promise<boolean> {
    while (this.#at >= this.#page.length) {
      if (this.#start === undefined) return false;
      await this.#pause();
      const page = this.#reader.range(this.#start, this.#end, PAGE_ROWS);
      const last = page.at(-1);
      this.#start = last === undefined || page.length < PAGE_ROWS ? undefined : keyAfter(last[0]);
      this.#at = 0;
      this.#page = page.filter((row) => row[0].length >= this.#keyBytesMin || this.#onShort(row));
    }
    return true;
  }

  /** Every row up to the end. */
  async each(take: (row: Row) => void): Promise<void> {
    while (await this.fill()) {
      for (let row = this.head; row !== undefined; row = this.head) {
        this.skip();
        take(row);
      }
    }
  }

  /** Every row of this inode, which the cursor has reached; rows are in the order of inodes. */
  async eachOf(inode: InodeNumber, take: (row: Row) => void): Promise<void> {
    while (await this.fill()) {
      for (let row = this.head; row !== undefined; row = this.head) {
        if (numberOfKey(row[0]) !== inode) return;
        this.skip();
        take(row);
      }
    }
  }
}
