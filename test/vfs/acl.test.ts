// ACLs as arithmetic, and on inodes without a kernel.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FsError } from '../../src/base/errors.ts';
import { ROOT_INODE } from '../../src/base/ids.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { BOOKKEEPING, SCHEMA_OF, SCHEMA_VERSION_FIRST, decodeNumber, keys } from '../../src/metadata/schema.ts';
import { ACL_TAG, checkAcl, decodeAcl, encodeAcl, inherit, isMinimal, modeOf, withMode } from '../../src/vfs/acl.ts';
import type { Acl } from '../../src/vfs/acl.ts';
import type { Attributes, Caller } from '../../src/vfs/filesystem.ts';
import { openHarness } from '../support/vfs-harness.ts';
import type { Harness } from '../support/vfs-harness.ts';

const LETTERS = { u: ACL_TAG.user, g: ACL_TAG.group, U: ACL_TAG.owner, G: ACL_TAG.owningGroup, m: ACL_TAG.mask, o: ACL_TAG.other } as const;
const NO_ID = 0xffff_ffff;

/** "U7 u5:6 G5 m7 o0": a letter, the number of a named one, and a digit of permissions. */
function acl(text: string): Acl {
  return text.split(' ').filter(Boolean).map((word) => {
    const [, letter, id, permissions] = /^(\w)(?:(\d+):)?(\d)$/.exec(word)!;
    return { tag: LETTERS[letter as keyof typeof LETTERS], id: id === undefined ? NO_ID : Number(id), permissions: Number(permissions) };
  });
}

function codeOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    return error instanceof FsError ? error.code : String(error);
  }
  return 'none';
}

const MINIMAL = 'U6 G4 o0';
const EXTENDED = 'U7 u5:6 u9:1 G5 g70:3 m7 o4';

describe('the arithmetic of ACLs', () => {
  it('reads and writes the bytes that the kernel does', () => {
    const bytes = Buffer.from('0200000001000700ffffffff020006000500000004000500ffffffff10000700ffffffff20000400ffffffff', 'hex');
    expect(decodeAcl(bytes)).toEqual(acl('U7 u5:6 G5 m7 o4'));
    expect(encodeAcl(acl('U7 u5:6 G5 m7 o4'))).toEqual(bytes);
    expect(decodeAcl(encodeAcl(acl(EXTENDED)))).toEqual(acl(EXTENDED));
    expect(decodeAcl(Buffer.from('02000000', 'hex'))).toEqual([]);
  });

  it.each([
    ['nothing', '', 'EINVAL'], ['half an entry', '0200000001000700', 'EINVAL'], ['another version', '0100000001000700ffffffff', 'EOPNOTSUPP'],
    ['a lone owner', '0200000001000700ffffffff', 'EINVAL'],
  ])('refuses %s', (_, hex, code) => {
    expect(codeOf(() => decodeAcl(Buffer.from(hex, 'hex')))).toBe(code);
  });

  it('refuses more bytes than the kernel can read', () => {
    const named = (count: number): Acl => acl(`U7 ${Array.from({ length: count }, (_, index) => `u${index}:7`).join(' ')} G5 m7 o4`);
    expect(decodeAcl(encodeAcl(named(507)))).toHaveLength(511);
    expect(codeOf(() => decodeAcl(encodeAcl(named(508))))).toBe('E2BIG');
  });

  it.each([
    ['two owners', 'U7 U7 G5 o4'], ['no owning group', 'U7 o4'], ['no others', 'U7 G5'], ['two masks', 'U7 G5 m7 m7 o4'], ['a named user without a mask', 'U7 u5:6 G5 o4'],
    ['entries out of order', 'U7 G5 u5:6 m7 o4'], ['a permission that is none', 'U8 G5 o4'], ['a user without a number', 'U7 u4294967295:6 G5 m7 o4'], ['a named group without a mask', 'U7 G5 g5:1 o4'],
  ])('finds %s invalid', (_, text) => {
    expect(codeOf(() => checkAcl(acl(text)))).toBe('EINVAL');
  });

  it('finds the others valid, a mask without names and a name twice among them', () => {
    for (const text of [MINIMAL, EXTENDED, 'U7 G5 m7 o4', 'U7 u5:6 u5:1 G5 m7 o4']) expect(codeOf(() => checkAcl(acl(text)))).toBe('none');
    expect(codeOf(() => checkAcl([...acl('U7 G5'), { tag: 0x40, permissions: 0, id: 0 }, ...acl('o4')]))).toBe('EINVAL');
  });

  it('shows in a mode the owner, the mask or else the owning group, and the others', () => {
    expect(modeOf(acl(MINIMAL), 0o106777)).toBe(0o106640);
    expect(modeOf(acl('U7 u5:6 G5 m2 o4'), 0o100000)).toBe(0o100724);
    expect(isMinimal(acl(MINIMAL))).toBe(true);
    expect(isMinimal(acl('U6 G4 m4 o0'))).toBe(false);
    expect(isMinimal(acl(EXTENDED))).toBe(false);
  });

  it('changes with a chmod what the mode shows, and nothing else', () => {
    expect(withMode(acl('U7 u5:6 G5 m7 o4'), 0o100421)).toEqual(acl('U4 u5:6 G5 m2 o1'));
    expect(withMode(acl('U7 G5 o4'), 0o421)).toEqual(acl('U4 G2 o1'));
  });

  it('hands down a default ACL, less what the creating mode lacks', () => {
    expect(inherit(acl('U7 u5:6 G5 m7 o4'), 0o100640)).toEqual({ mode: 0o100640, acl: acl('U6 u5:6 G5 m4 o0') });
    expect(inherit(acl('U7 G5 o0'), 0o100666)).toEqual({ mode: 0o100640, acl: acl('U6 G4 o0') });
    expect(inherit(acl('U7 u5:6 G5 m5 o0'), 0o042777)).toEqual({ mode: 0o042750, acl: acl('U7 u5:6 G5 m5 o0') });
  });
});

describe('ACLs of inodes', () => {
  let harness: Harness;
  beforeEach(async () => { harness = await openHarness(); });
  afterEach(() => harness.end());

  const name = (text: string): Buffer => Buffer.from(text);
  const ACCESS = name('system.posix_acl_access');
  const DEFAULT = name('system.posix_acl_default');
  const makeDirectory = (text: string, caller = harness.caller()): Attributes => harness.fs.makeDirectory(ROOT_INODE, name(text), 0o777, caller);
  const set = (inode: Attributes['inode'], attribute: Buffer, text: string, killSetgid = false): void =>
    harness.fs.setXattr(inode, attribute, encodeAcl(acl(text)), { mode: 'set', killSetgid }, harness.caller());
  const get = (inode: Attributes['inode'], attribute: Buffer): Acl => decodeAcl(harness.fs.getXattr(inode, attribute));
  const masked = (umask: number): Caller => harness.caller({ umask });

  it('a default ACL stands in place of the umask, for everything but links', async () => {
    const { inode } = makeDirectory('d');
    expect(harness.fs.makeNode(inode, name('before'), { mode: 0o100666, device: 0 }, masked(0o27))).toMatchObject({ mode: 0o100640 });
    set(inode, DEFAULT, 'U7 u5:6 G5 m7 o4');
    const file = await harness.fs.create(inode, name('file'), { mode: 0o100660, exclusive: true, truncate: false }, masked(0o77));
    expect(file.mode).toBe(0o100660);
    expect(get(file.inode, ACCESS)).toEqual(acl('U6 u5:6 G5 m6 o0'));
    expect(codeOf(() => get(file.inode, DEFAULT))).toBe('ENODATA');
    const directory = harness.fs.makeDirectory(inode, name('sub'), 0o777, masked(0o77));
    expect([directory.mode, get(directory.inode, ACCESS), get(directory.inode, DEFAULT)]).toEqual([0o040774, acl('U7 u5:6 G5 m7 o4'), acl('U7 u5:6 G5 m7 o4')]);
    const unnamed = harness.fs.createUnnamed(inode, 0o100600, masked(0o77));
    expect([unnamed.mode, get(unnamed.inode, ACCESS)]).toEqual([0o100600, acl('U6 u5:6 G5 m0 o0')]);
    const link = harness.fs.makeSymlink(inode, name('link'), name('file'), harness.caller());
    expect([link.mode, harness.fs.listXattrs(link.inode, harness.caller())]).toEqual([0o120777, []]);
  });

  it('a default ACL that is minimal leaves a mode and no ACL', () => {
    const { inode } = makeDirectory('d');
    set(inode, DEFAULT, 'U7 G5 o0');
    const file = harness.fs.makeNode(inode, name('f'), { mode: 0o100666, device: 0 }, masked(0));
    expect([file.mode, harness.fs.listXattrs(file.inode, harness.caller())]).toEqual([0o100640, []]);
  });

  it('the access ACL and the mode say the same, whichever is changed', () => {
    const { inode } = makeDirectory('d');
    set(inode, ACCESS, 'U7 u5:6 G5 m3 o4');
    expect(harness.fs.getAttributes(inode).mode).toBe(0o040734);
    harness.fs.setAttributes(inode, { mode: 0o1642 }, harness.caller());
    expect([get(inode, ACCESS), harness.fs.getAttributes(inode).mode]).toEqual([acl('U6 u5:6 G5 m4 o2'), 0o041642]);
    set(inode, ACCESS, 'U7 G5 o1');
    expect([harness.fs.getAttributes(inode).mode, codeOf(() => get(inode, ACCESS))]).toEqual([0o041751, 'ENODATA']);
  });

  it('setting an access ACL clears setgid where the kernel says so, and a default one does not', () => {
    const { inode } = makeDirectory('d');
    harness.fs.setAttributes(inode, { mode: 0o2777 }, harness.caller());
    set(inode, DEFAULT, EXTENDED, true);
    expect(harness.fs.getAttributes(inode).mode).toBe(0o042777);
    set(inode, ACCESS, EXTENDED, true);
    expect(harness.fs.getAttributes(inode).mode).toBe(0o040774);
  });

  it('what is not there can be taken away, and what is there leaves with it', () => {
    const { inode } = makeDirectory('d');
    harness.fs.removeXattr(inode, ACCESS, harness.caller());
    set(inode, ACCESS, EXTENDED);
    set(inode, DEFAULT, EXTENDED);
    expect(harness.fs.listXattrs(inode, harness.caller())).toEqual([ACCESS, DEFAULT]);
    harness.fs.removeXattr(inode, DEFAULT, harness.caller());
    harness.fs.setXattr(inode, ACCESS, Buffer.from('02000000', 'hex'), { mode: 'set', killSetgid: false }, harness.caller());
    expect(harness.fs.listXattrs(inode, harness.caller())).toEqual([]);
    expect(harness.fs.makeNode(inode, name('f'), { mode: 0o100666, device: 0 }, masked(0o22)).mode).toBe(0o100644);
  });

  it('make the volume one that an sdfs without them refuses', () => {
    const schema = (): number => decodeNumber(harness.engine.reader.get(keys.bookkeeping(BOOKKEEPING.schema)) as Buffer);
    const { inode } = makeDirectory('d');
    harness.fs.removeXattr(inode, ACCESS, harness.caller());
    expect(schema()).toBe(SCHEMA_VERSION_FIRST);
    set(inode, DEFAULT, MINIMAL);
    expect(schema()).toBe(SCHEMA_OF.acls);
  });

  it('only directories have default ACLs, and links have none', () => {
    const file = harness.fs.makeNode(ROOT_INODE, name('f'), { mode: 0o100666, device: 0 }, harness.caller());
    expect(codeOf(() => set(file.inode, DEFAULT, MINIMAL))).toBe('EACCES');
    const link = harness.fs.makeSymlink(ROOT_INODE, name('l'), name('f'), harness.caller());
    expect(codeOf(() => set(link.inode, ACCESS, MINIMAL))).toBe('EOPNOTSUPP');
    expect(codeOf(() => harness.fs.setXattr(file.inode, ACCESS, name('bad'), { mode: 'set', killSetgid: false }, harness.caller()))).toBe('EINVAL');
  });

  it('a successor answers for a creation with an ACL as its predecessor would have', async () => {
    const { inode } = makeDirectory('d');
    set(inode, DEFAULT, 'U7 u5:6 G5 m7 o4');
    const caller = masked(0o77);
    const made = harness.fs.makeDirectory(inode, name('sub'), 0o750, caller);
    const setting = harness.caller();
    harness.fs.setXattr(made.inode, name('user.a'), name('1'), { mode: 'create', killSetgid: false }, setting);
    const removing = harness.caller();
    harness.fs.removeXattr(made.inode, DEFAULT, removing);
    harness = await harness.successor();
    expect(harness.fs.makeDirectory(inode, name('sub'), 0o750, { ...caller, resent: true })).toMatchObject({ inode: made.inode, mode: made.mode });
    harness.fs.setXattr(made.inode, name('user.a'), name('1'), { mode: 'create', killSetgid: false }, { ...setting, resent: true });
    harness.fs.removeXattr(made.inode, DEFAULT, { ...removing, resent: true });
    expect(get(made.inode, ACCESS)).toEqual(acl('U7 u5:6 G5 m5 o0'));
  });
});

describe('extended attributes of inodes', () => {
  let harness: Harness;
  beforeEach(async () => { harness = await openHarness(); });
  afterEach(() => harness.end());
  const set = (text: string, value: Buffer): void => harness.fs.setXattr(ROOT_INODE, Buffer.from(text), value, { mode: 'set', killSetgid: false }, harness.caller());

  it('have no more names than can be listed, and no more bytes than a record should hold', () => {
    const names = Array.from({ length: LIMITS.xattrListBytesMax / 256 }, (_, index) => `user.${String(index).padEnd(250, 'x')}`);
    for (const text of names) set(text, Buffer.of(1));
    expect(Buffer.concat(harness.fs.listXattrs(ROOT_INODE, harness.caller())).length + names.length).toBe(LIMITS.xattrListBytesMax);
    expect(codeOf(() => set('user.more', Buffer.of(1)))).toBe('ENOSPC');
    for (const text of names.slice(0, 15)) set(text, Buffer.alloc(LIMITS.xattrValueBytesMax));
    expect(codeOf(() => set(names[15]!, Buffer.alloc(LIMITS.xattrValueBytesMax)))).toBe('ENOSPC');
    harness.fs.removeXattr(ROOT_INODE, Buffer.from(names[0]!), harness.caller());
    set('user.more', Buffer.of(1));
  });

  it('are in a namespace that Linux has, and those that are trusted are shown to root alone', () => {
    set('trusted.a', Buffer.of(1));
    set('security.b', Buffer.of(1));
    expect(harness.fs.listXattrs(ROOT_INODE, harness.caller({ uid: 5 })).map(String)).toEqual(['security.b']);
    expect(harness.fs.listXattrs(ROOT_INODE, harness.caller()).map(String)).toEqual(['security.b', 'trusted.a']);
    for (const [text, code] of [['other.a', 'EOPNOTSUPP'], ['system.a', 'EOPNOTSUPP'], ['user.', 'EINVAL']] as const) {
      expect(codeOf(() => set(text, Buffer.of(1)))).toBe(code);
      expect(codeOf(() => harness.fs.getXattr(ROOT_INODE, Buffer.from(text)))).toBe(code);
      expect(codeOf(() => harness.fs.removeXattr(ROOT_INODE, Buffer.from(text), harness.caller()))).toBe(code);
    }
  });
});
