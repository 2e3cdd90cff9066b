// Mount options: what users may write, what the kernel is given, and what is refused in which words.
import { describe, expect, it } from 'vitest';
import { UserError } from '../../src/base/errors.ts';
import { helperOptions } from '../../src/kernel/fusermount.ts';
import { DEFAULT_MOUNT_OPTIONS, mountData, mountFlags, parseMountOptions } from '../../src/kernel/mount-options.ts';

describe('mount options', () => {
  it('are the defaults where nothing is said', () => {
    expect(parseMountOptions('')).toEqual(DEFAULT_MOUNT_OPTIONS);
    expect(parseMountOptions('default_permissions,')).toEqual(DEFAULT_MOUNT_OPTIONS);
  });

  it('are all understood', () => {
    expect(parseMountOptions('ro,allow_other,noatime,nodiratime,nosuid,nodev,noexec,noacl,fsname=a=b,subtype=x.y,max_read=65536,locks=sdfs,dumps=30m')).toEqual({
      readOnly: true, allowOther: true, noSuid: true, noDev: true, noExec: true, accessTime: 'noatime', directoryAccessTime: false, posixAcl: false, locks: 'sdfs', dumpIntervalMs: 1_800_000, fsname: 'a=b', subtype: 'x.y', maxReadBytes: 65_536,
    });
  });

  it('are taken back by later ones', () => {
    expect(parseMountOptions('ro,rw,noatime,strictatime,relatime,nodiratime,diratime,nosuid,suid,nodev,dev,noexec,exec,noacl,acl,locks=sdfs,locks=kernel')).toEqual(DEFAULT_MOUNT_OPTIONS);
  });

  it.each([
    ['colour=red', 'unknown mount option "colour"'], ['ro=1', 'takes no value'], ['fsname', 'wants a value'], ['max_read=12', 'from 4096 on'],
    ['max_read=64k', 'from 4096 on'], ['subtype=a b', 'wants letters'], ['dumps=soon', 'wants "off" or a time'], ['locks=mine', 'wants "kernel" or "sdfs"'],
  ])('refuse %s and say why', (text, message) => {
    expect(() => parseMountOptions(text)).toThrow(UserError);
    expect(() => parseMountOptions(text)).toThrow(message);
  });

  it('become the words of fusermount3, with names escaped and nosuid,nodev whatever is said', () => {
    expect(helperOptions({ ...DEFAULT_MOUNT_OPTIONS, fsname: '/a,b\\c' })).toBe('default_permissions,nosuid,nodev,fsname=/a\\,b\\\\c,subtype=sdfs');
    expect(helperOptions(parseMountOptions('ro,noexec,noatime,allow_other,max_read=65536'))).toMatch(/,ro,noexec,noatime,allow_other,max_read=65536$/);
  });

  it('become the flags and the data of mount(2), always with default_permissions', () => {
    const options = parseMountOptions('ro,nosuid,nodev,noexec,noatime,allow_other,max_read=65536');
    expect(mountFlags(options)).toBe(1 | 2 | 4 | 8 | 1024);
    expect(mountFlags(DEFAULT_MOUNT_OPTIONS)).toBe(1 << 21);
    expect(mountFlags(parseMountOptions('strictatime,nodiratime'))).toBe((1 << 24) | 2048);
    expect(mountData(5, options, { uid: 3, gid: 4 })).toBe('fd=5,rootmode=40000,user_id=3,group_id=4,default_permissions,allow_other,max_read=65536');
    expect(mountData(5, DEFAULT_MOUNT_OPTIONS, { uid: 0, gid: 0 })).toBe('fd=5,rootmode=40000,user_id=0,group_id=0,default_permissions');
  });
});
