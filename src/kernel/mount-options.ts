// The words after `-o`: what a user may say about a mount, and what mount(2) is given for it.
import { EXIT, UserError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { MountOptions } from '../base/mount-options.ts';

export const DEFAULT_MOUNT_OPTIONS: MountOptions = {
  readOnly: false, allowOther: false, noSuid: false, noDev: false, noExec: false, accessTime: 'relatime', directoryAccessTime: true, posixAcl: true, locks: 'kernel', dumpIntervalMs: LIMITS.dumpIntervalMs, fsname: 'sdfs', subtype: 'sdfs',
};

/** <linux/mount.h> */
const MS = { RDONLY: 1, NOSUID: 2, NODEV: 4, NOEXEC: 8, NOATIME: 1024, NODIRATIME: 2048, RELATIME: 1 << 21, STRICTATIME: 1 << 24 } as const;

const FLAGS: ReadonlyMap<string, Partial<MountOptions>> = new Map<string, Partial<MountOptions>>([
  ['ro', { readOnly: true }],
  ['rw', { readOnly: false }],
  ['allow_other', { allowOther: true }],
  // The only way that sdfs works; said by habit.
  ['default_permissions', {}],
  ['noatime', { accessTime: 'noatime' }],
  ['relatime', { accessTime: 'relatime' }],
  ['acl', { posixAcl: true }],
  ['noacl', { posixAcl: false }],
  ['strictatime', { accessTime: 'strictatime' }],
  ['diratime', { directoryAccessTime: true }],
  ['nodiratime', { directoryAccessTime: false }],
  ['nosuid', { noSuid: true }],
  ['suid', { noSuid: false }],
  ['nodev', { noDev: true }],
  ['dev', { noDev: false }],
  ['noexec', { noExec: true }],
  ['exec', { noExec: false }],
]);
const VALUES: ReadonlyMap<string, (value: string) => Partial<MountOptions>> = new Map<string, (value: string) => Partial<MountOptions>>([
  ['fsname', (value) => ({ fsname: value })],
  ['subtype', (value) => ({ subtype: subtype(value) })],
  ['dumps', (value) => ({ dumpIntervalMs: interval(value) })],
  ['locks', (value) => ({ locks: locks(value) })],
  ['max_read', (value) => ({ maxReadBytes: maxRead(value) })],
]);

/** `text`: options with commas between them, later ones win. UserError where one is unknown or has a bad value. */
export function parseMountOptions(text: string, defaults: MountOptions = DEFAULT_MOUNT_OPTIONS): MountOptions {
  let options = defaults;
  for (const word of text.split(',')) {
    if (word !== '') options = { ...options, ...parseWord(word) };
  }
  return options;
}

function parseWord(word: string): Partial<MountOptions> {
  const [name, value] = splitAtEqualsSign(word);
  const flag = FLAGS.get(name);
  const parse = VALUES.get(name);
  if (flag !== undefined && value === undefined) return flag;
  if (flag !== undefined) throw usage(`mount option "${name}" takes no value; write "${name}" instead of "${word}"`);
  if (parse === undefined) throw usage(`unknown mount option "${name}"; known are ${[...FLAGS.keys(), ...[...VALUES.keys()].map((key) => `${key}=…`)].join(', ')}`);
  if (value === undefined || value === '') throw usage(`mount option "${name}" wants a value: "${name}=…"`);
  return parse(value);
}

function splitAtEqualsSign(word: string): [string, string | undefined] {
  const at = word.indexOf('=');
  return at < 0 ? [word, undefined] : [word.slice(0, at), word.slice(at + 1)];
}

function subtype(value: string): string {
  if (!/^[A-Za-z0-9_.-]+$/.test(value)) throw usage(`mount option "subtype" wants letters, digits, "_", "." and "-", not "${value}"`);
  return value;
}

function maxRead(value: string): number {
  const bytes = Number(value);
  if (!/^\d+$/.test(value) || bytes < 4096 || bytes > 0x7fff_ffff) throw usage(`mount option "max_read" wants a number of bytes from 4096 on, not "${value}"`);
  return bytes;
}

function locks(value: string): 'kernel' | 'sdfs' {
  if (value !== 'kernel' && value !== 'sdfs') throw usage(`mount option "locks" wants "kernel" or "sdfs", not "${value}"`);
  return value;
}

const UNIT_MS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

function interval(value: string): number {
  if (value === 'off') return 0;
  const [, count, unit] = /^(\d{1,6})([smhd])$/.exec(value) ?? [];
  const ms = Number(count) * (UNIT_MS[unit ?? ''] ?? NaN);
  if (!(ms > 0)) throw usage(`mount option "dumps" wants "off" or a time as 30m, 1h or 1d, not "${value}"`);
  return ms;
}

function usage(message: string): UserError {
  return new UserError(message, EXIT.usage);
}

const ACCESS_TIME_FLAG = { strictatime: MS.STRICTATIME, relatime: MS.RELATIME, noatime: MS.NOATIME } as const;

/** The `flags` of mount(2). */
export function mountFlags(options: MountOptions): number {
  return (options.readOnly ? MS.RDONLY : 0) | (options.noSuid ? MS.NOSUID : 0) | (options.noDev ? MS.NODEV : 0)
    | (options.noExec ? MS.NOEXEC : 0) | (options.directoryAccessTime ? 0 : MS.NODIRATIME) | ACCESS_TIME_FLAG[options.accessTime];
}

/** The `data` of mount(2) for type `fuse`. The mount belongs to `uid` and `gid`. */
export function mountData(fd: number, options: MountOptions, owner: { uid: number; gid: number }): string {
  const words = [`fd=${fd}`, 'rootmode=40000', `user_id=${owner.uid}`, `group_id=${owner.gid}`, 'default_permissions'];
  if (options.allowOther) words.push('allow_other');
  if (options.maxReadBytes !== undefined) words.push(`max_read=${options.maxReadBytes}`);
  return words.join(',');
}
