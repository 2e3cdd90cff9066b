// The records of a READDIR or READDIRPLUS reply, written straight into the buffer that is sent.
//
//   fuse_dirent       0 u64 ino   8 u64 off (cookie of the position behind it)   16 u32 namelen   20 u32 type   24 name
//   fuse_direntplus   0 fuse_entry_out (128)   128 fuse_dirent
//
// Each record is padded to 8 bytes. Node id 0 in the entry of a direntplus takes no reference: "." and "..".
import { FsError } from '../base/errors.ts';
import type { DirectoryEntry } from '../vfs/filesystem.ts';
import { DIRENT_BYTES, DIRENTPLUS_BYTES, ENTRY_OUT_BYTES, OUT_HEADER_BYTES } from './protocol.ts';
import { writeEntry, writeU64 } from './reply.ts';
import type { CacheTimes } from './reply.ts';

/** Largest listing sent at once, header included; the C library asks for 32 KiB. More than this is sent in parts. */
const BUFFER_BYTES_MAX = 128 * 1024;

export class DirectoryReply {
  /** Belongs to this reply until it is sent, since the listing may be gathered over several loop turns. */
  #buffer = Buffer.allocUnsafe(0);
  #bytes = OUT_HEADER_BYTES;
  #limit = OUT_HEADER_BYTES;
  #overflow = false;
  #times: CacheTimes | undefined;

  /** `times` makes it a READDIRPLUS. */
  begin(bodyBytesMax: number, times: CacheTimes | undefined): void {
    this.#limit = Math.min(OUT_HEADER_BYTES + bodyBytesMax, BUFFER_BYTES_MAX);
    if (this.#buffer.length < this.#limit) this.#buffer = Buffer.allocUnsafe(this.#limit);
    this.#bytes = OUT_HEADER_BYTES;
    this.#overflow = false;
    this.#times = times;
  }

  /** Appends one entry. False: it did not fit, and is not part of this reply. */
  readonly take = (entry: DirectoryEntry): boolean => {
    const { name, attributes } = entry;
    const times = this.#times;
    const recordBytes = ((times === undefined ? DIRENT_BYTES : DIRENTPLUS_BYTES) + name.length + 7) & ~7;
    const start = this.#bytes;
    const end = start + recordBytes;
    if (end > this.#limit) {
      this.#overflow = true;
      return false;
    }
    const out = this.#buffer;
    let at = start;
    if (times !== undefined) {
      if (attributes === undefined) out.fill(0, at, at + ENTRY_OUT_BYTES);
      else writeEntry(out, at, attributes, times);
      at += ENTRY_OUT_BYTES;
    }
    writeU64(out, entry.inode, at);
    writeU64(out, entry.cookie, at + 8);
    out.writeUInt32LE(name.length, at + 16);
    out.writeUInt32LE((entry.type >>> 12) & 15, at + 20);
    out.set(name, at + DIRENT_BYTES);
    for (let pad = at + DIRENT_BYTES + name.length; pad < end; pad++) out[pad] = 0;
    this.#bytes = end;
    return true;
  };

  /** EINVAL when there are entries but not even one fits: an empty reply would mean the end of the directory. */
  finish(): { buffer: Buffer; bytes: number } {
    if (this.#overflow && this.#bytes === OUT_HEADER_BYTES) throw new FsError('EINVAL', 'the reply is too small for one directory entry');
    return { buffer: this.#buffer, bytes: this.#bytes };
  }
}
