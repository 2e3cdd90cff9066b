// What is mounted where, from /proc/self/mountinfo. Reading it never touches a file system that it lists.
//
//   36 35 98:0 /root /mount\040point rw,noatime master:1 - ext3 /dev/root rw,errors=continue
//   id parent major:minor root mountpoint options [optional fields] - type source super-options
//
// Space, tab, newline and backslash are written as octal escapes.
import { readFileSync } from 'node:fs';
import { FormatError } from '../base/errors.ts';

export interface MountEntry {
  readonly id: number;
  readonly major: number;
  /** For FUSE, the number of the connection too. */
  readonly minor: number;
  readonly mountpoint: string;
  readonly options: readonly string[];
  readonly type: string;
  readonly source: string;
  readonly superOptions: readonly string[];
}

/** In the order of the table: of two mounts on one directory the later lies on top. FormatError on a line that is none. */
export function parseMountTable(table: Buffer): MountEntry[] {
  return table.toString('latin1').split('\n').filter((line) => line !== '').map(parseLine);
}

function parseLine(line: string): MountEntry {
  const [before, after] = line.split(' - ');
  const [id, , device, , mountpoint, options] = (before ?? '').split(' ');
  const [type, source, superOptions] = (after ?? '').split(' ');
  const [major, minor] = (device ?? '').split(':').map(Number);
  if (id === undefined || major === undefined || minor === undefined || mountpoint === undefined || options === undefined || type === undefined || source === undefined) {
    throw new FormatError('/proc/self/mountinfo', { wanted: 'a line as in proc(5)', found: line });
  }
  return {
    id: Number(id), major, minor, mountpoint: decode(mountpoint), options: options.split(','), type, source: decode(source),
    superOptions: (superOptions ?? '').split(','),
  };
}

/** An escape stands for one byte, so escapes are undone before the bytes are read as UTF-8. */
function decode(field: string): string {
  const bytes = field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

/** The topmost mount at exactly this path (absolute, without symbolic links), if there is one. */
export function findMount(mountpoint: string, table: readonly MountEntry[] = readMountTable()): MountEntry | undefined {
  return table.findLast((entry) => entry.mountpoint === mountpoint);
}

/** The user who owns a FUSE mount (user_id); undefined for other types. */
export function ownerOfMount(entry: MountEntry): number | undefined {
  const option = entry.superOptions.find((word) => word.startsWith('user_id='));
  return option === undefined ? undefined : Number(option.slice('user_id='.length));
}

export function readMountTable(): MountEntry[] {
  return parseMountTable(readFileSync('/proc/self/mountinfo'));
}
