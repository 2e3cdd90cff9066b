// Each inode against the rows that are its own: entries by name and by position, extents, what is set aside, attributes,
// link target. All of these are in the order of inode numbers, so that one walk over all of them side by side will do.
import type { InodeNumber } from '../base/ids.ts';
import type { Row } from '../metadata/engine.ts';
import { rangeOfType } from '../metadata/row-types.ts';
import { INODE_FLAG, encodeReservation, keys, numberOfKey } from '../metadata/schema.ts';
import type { Inode } from '../metadata/schema.ts';
import type { Checker } from './checker.ts';
import { checkEntry, checkListing } from './check-entries.ts';
import { ExtentSums } from './check-extents.ts';
import { FILE_KIND, isVersioned, kindOf, readEntry, readInode, readListing, readReservation } from './decode.ts';
import { changeInode, guarded, inodeDelta } from './finding.ts';
import { remakeInode } from './remake-inode.ts';
import type { RowCursor } from './row-cursor.ts';

const ACL_FLAGS = new Map<string, number>([
  ['system.posix_acl_access', INODE_FLAG.accessAcl],
  ['system.posix_acl_default', INODE_FLAG.defaultAcl],
  ['security.capability', INODE_FLAG.capability],
]);
/** Flags that are there exactly when the row is; the others may outlive it. */
const EXACT_FLAGS = INODE_FLAG.accessAcl | INODE_FLAG.defaultAcl;

export interface InodeSums {
  inodes: number;
  reservedBytes: number;
  inodeMax: number;
}

type OwnRows = 'entry' | 'listing' | 'extents' | 'reservation' | 'xattr' | 'linkTarget';
const OWN: readonly OwnRows[] = ['entry', 'listing', 'extents', 'reservation', 'xattr', 'linkTarget'];

export async function checkInodes(checker: Checker): Promise<InodeSums> {
  checker.begin('files');
  const sums: InodeSums = { inodes: 0, reservedBytes: 0, inodeMax: 0 };
  const inodes = checker.cursor(rangeOfType('inode'));
  const own = Object.fromEntries(OWN.map((type) => [type, checker.cursor(rangeOfType(type))])) as Record<OwnRows, RowCursor>;
  const cursors = [inodes, ...Object.values(own)];
  for (;;) {
    let number = Infinity;
    for (const cursor of cursors) {
      if (cursor.head === undefined && !(await cursor.fill())) continue;
      number = Math.min(number, numberOfRow(cursor.head!));
    }
    if (number === Infinity) break;
    checker.step();
    let row: Row | undefined;
    await inodes.eachOf(number as InodeNumber, (found) => { row = found; });
    if (row !== undefined) sums.inodes++;
    sums.inodeMax = Math.max(sums.inodeMax, number);
    const group = new InodeGroup(checker, number as InodeNumber, row);
    for (const type of OWN) await own[type].eachOf(number as InodeNumber, (found) => group.take(type, found));
    sums.reservedBytes += group.finish();
  }
  await checker.flush();
  return sums;
}

/** A key that is too short for a number sorts first of its kind, and is nobody's. */
function numberOfRow([key]: Row): number {
  return key.length >= 9 ? numberOfKey(key) : 0;
}

/** All rows of one inode, taken in the order of their kinds. */
class InodeGroup {
  readonly #checker: Checker;
  readonly #number: InodeNumber;
  readonly #row: Row | undefined;
  readonly #inode: Inode | undefined;
  readonly #extents: ExtentSums;
  #names = 0;
  #subdirectories = 0;
  #cookieMax = 0;
  #flags = 0;
  #targetBytes: number | undefined;
  #ownRows = 0;

  constructor(checker: Checker, number: InodeNumber, row: Row | undefined) {
    this.#checker = checker;
    this.#number = number;
    this.#row = row;
    this.#inode = row === undefined ? undefined : readInode(row);
    if (row !== undefined && this.#inode === undefined) checker.reportRow('undecodable', row, `the inode row of ${number}`);
    const set = this.#inode === undefined ? undefined : checker.reader.get(keys.reservation(number));
    this.#extents = new ExtentSums(checker, number, set === undefined ? undefined : readReservation([keys.reservation(number), set]));
  }

  take(type: OwnRows, row: Row): void {
    this.#ownRows++;
    switch (type) {
      case 'entry': return this.#takeEntry(row);
      case 'listing': return this.#takeListing(row);
      case 'extents': return this.#isKind(FILE_KIND.regular) ? this.#extents.take(row, this.#inode) : this.#checker.reportRow('strayRow', row, `extents of inode ${this.#number}, which is no regular file`);
      case 'reservation':
        if (readReservation(row) === undefined) this.#checker.reportRow('undecodable', row, `the row of what is set aside for inode ${this.#number}`);
        return undefined;
      case 'xattr': return this.#takeXattr(row);
      case 'linkTarget':
        if (!isVersioned(row)) this.#checker.reportRow('undecodable', row, `the link target of inode ${this.#number}`);
        else if (!this.#isKind(FILE_KIND.link)) this.#checker.reportRow('strayRow', row, `a link target of inode ${this.#number}, which is no symbolic link`);
        else this.#targetBytes = row[1].length - 1;
    }
  }

  /** While the inode row is unknown everything is possible. */
  #isKind(kind: number): boolean {
    return this.#inode === undefined || kindOf(this.#inode) === kind;
  }

  #takeEntry(row: Row): void {
    const entry = readEntry(row);
    if (entry === undefined) return this.#checker.reportRow('undecodable', row, `a name in directory ${this.#number}`);
    if (!this.#isKind(FILE_KIND.directory)) return this.#checker.reportRow('strayRow', row, `a name in inode ${this.#number}, which is no directory`);
    this.#names++;
    if (entry.type === FILE_KIND.directory) this.#subdirectories++;
    this.#cookieMax = Math.max(this.#cookieMax, entry.cookie);
    checkEntry(this.#checker, row, entry);
  }

  #takeListing(row: Row): void {
    const listing = readListing(row);
    if (listing === undefined) return this.#checker.reportRow('undecodable', row, `a listed name in directory ${this.#number}`);
    if (!this.#isKind(FILE_KIND.directory)) return this.#checker.reportRow('strayRow', row, `a listed name in inode ${this.#number}, which is no directory`);
    this.#cookieMax = Math.max(this.#cookieMax, checkListing(this.#checker, row, listing));
  }

  #takeXattr(row: Row): void {
    if (row[0].length < 10 || !isVersioned(row)) return this.#checker.reportRow('undecodable', row, `an attribute of inode ${this.#number}`);
    this.#flags |= INODE_FLAG.xattrs | (ACL_FLAGS.get(row[0].subarray(9).toString('latin1')) ?? 0);
  }

  /** Returns the bytes that are set aside for it. */
  finish(): number {
    const inode = this.#inode;
    if (inode === undefined) {
      if (this.#row === undefined && this.#ownRows > 0) this.#reportLost();
      return 0;
    }
    this.#checkFlags(inode);
    const kind = kindOf(inode);
    if (kind === FILE_KIND.directory) this.#checkDirectory(inode);
    if (kind === FILE_KIND.link) this.#checkTarget(inode);
    if (kind === FILE_KIND.regular) this.#checkBytes(inode);
    return inode.reservedBytes;
  }

  #reportLost(): void {
    const number = this.#number;
    this.#checker.report({
      kind: 'inodeLost', subject: { inode: number }, detail: `inode ${number} has ${this.#ownRows} rows, and none that says what it is`,
      repair: guarded([[keys.inode(number), undefined]], (tx) => remakeInode(tx, number)),
    });
  }

  #checkDirectory(inode: Inode): void {
    const { report } = this.#reporter('directorySize');
    if (inode.size !== this.#names) {
      const delta = this.#names - inode.size;
      report(`it counts ${inode.size} entries and has ${this.#names}`, inodeDelta(inode.number, (now) => { now.size = Math.max(0, now.size + delta); }));
    }
    const links = inode.links === 0 && this.#names === 0 ? 0 : 2 + this.#subdirectories;
    if (inode.links !== links) {
      const delta = links - inode.links;
      this.#reporter('linkCount').report(`it counts ${inode.links} links and has ${links}`, inodeDelta(inode.number, (now) => { now.links = Math.max(0, now.links + delta); }));
    }
    if (inode.nextCookie <= this.#cookieMax) {
      const next = this.#cookieMax + 1;
      this.#reporter('nextCookie').report(`the next position is ${inode.nextCookie}, and ${this.#cookieMax} is taken`, inodeDelta(inode.number, (now) => { now.nextCookie = Math.max(now.nextCookie, next); }));
    }
  }

  #checkTarget(inode: Inode): void {
    const bytes = this.#targetBytes;
    if (bytes === undefined) this.#reporter('linkTarget').report('it has no target', undefined);
    else if (bytes !== inode.size) this.#reporter('linkTarget').report(`its size is ${inode.size}, and the target has ${bytes} bytes`, inodeDelta(inode.number, (now) => { now.size = bytes; }));
  }

  #checkBytes(inode: Inode): void {
    const { mappedBytes, endBytes, wantedReserved, reservation } = this.#extents;
    if (endBytes > inode.size) {
      this.#reporter('behindEnd').report(`its size is ${inode.size}, and it has data up to ${endBytes}`, guarded([[keys.inode(inode.number), this.#row![1]]], (tx) => {
        changeInode(tx, inode.number, (now) => { now.size = Math.max(now.size, endBytes); });
      }));
    }
    if (mappedBytes !== inode.allocatedBytes) {
      const delta = mappedBytes - inode.allocatedBytes;
      this.#reporter('allocatedBytes').report(`it counts ${inode.allocatedBytes} bytes and has ${mappedBytes}`, inodeDelta(inode.number, (now) => { now.allocatedBytes = Math.max(0, now.allocatedBytes + delta); }));
    }
    if (wantedReserved === inode.reservedBytes && wantedReserved === (reservation?.reservedBytes ?? 0) && (wantedReserved > 0 || reservation === undefined)) return;
    const { number } = inode;
    const key = keys.reservation(number);
    this.#reporter('reservation').report(
      `the file counts ${inode.reservedBytes} bytes, the row ${reservation?.reservedBytes ?? 'is missing'}, the ranges ${wantedReserved}`,
      (tools) => {
        const done = guarded([[keys.inode(number), this.#row![1]], [key, this.#checker.reader.get(key)]], (tx) => {
          changeInode(tx, number, (now) => { now.reservedBytes = wantedReserved; });
          if (wantedReserved > 0) tx.put(key, encodeReservation({ reservedBytes: wantedReserved, ranges: reservation!.ranges }));
          else tx.delete(key);
        })(tools);
        if (done === true) tools.reserved(wantedReserved - (reservation?.reservedBytes ?? 0));
        return done;
      },
    );
  }

  #checkFlags(inode: Inode): void {
    const missing = this.#flags & ~inode.flags;
    const surplus = inode.flags & ~this.#flags & EXACT_FLAGS;
    if (missing === 0 && surplus === 0) return;
    this.#reporter('attributeFlags').report(`its flags are ${inode.flags}, its attributes ask for ${this.#flags}`, guarded([[keys.inode(inode.number), this.#row![1]]], (tx) => {
      changeInode(tx, inode.number, (now) => { now.flags = (now.flags | missing) & ~surplus; });
    }));
  }

  #reporter(kind: Parameters<Checker['report']>[0]['kind']) {
    return {
      report: (detail: string, repair: Parameters<Checker['report']>[0]['repair']) => this.#checker.report({ kind, subject: { inode: this.#number }, detail: `inode ${this.#number}: ${detail}`, repair }),
    };
  }
}
