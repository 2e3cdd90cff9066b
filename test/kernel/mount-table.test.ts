// /proc/self/mountinfo: its lines, its escapes, and which of several mounts counts.
import { describe, expect, it } from 'vitest';
import { FormatError } from '../../src/base/errors.ts';
import { findMount, parseMountTable, readMountTable } from '../../src/kernel/mount-table.ts';

const TABLE = Buffer.from([
  '22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw',
  '50 22 0:41 / /mnt/with\\040space\\134\\011tab rw,nosuid - fuse.sdfs vol\\040ume rw,user_id=0',
  '51 22 0:42 / /mnt/\u00fc\u6f22 rw master:2 propagate_from:1 - tmpfs none rw,size=4k',
  '52 50 0:43 / /mnt/with\\040space\\134\\011tab ro - fuse.sdfs other ro',
  '',
].join('\n'));

describe('the mount table', () => {
  it('has the fields of each line, with or without optional ones', () => {
    expect(parseMountTable(TABLE)[1]).toEqual({
      id: 50, major: 0, minor: 41, mountpoint: '/mnt/with space\\\ttab', options: ['rw', 'nosuid'], type: 'fuse.sdfs', source: 'vol ume', superOptions: ['rw', 'user_id=0'],
    });
    expect(parseMountTable(TABLE)[2]).toMatchObject({ mountpoint: '/mnt/\u00fc\u6f22', type: 'tmpfs', minor: 42 });
  });

  it('finds the topmost mount at a path, and none below or above it', () => {
    const table = parseMountTable(TABLE);
    expect(findMount('/mnt/with space\\\ttab', table)?.source).toBe('other');
    expect(findMount('/mnt', table)).toBeUndefined();
  });

  it('refuses a line that is none', () => {
    expect(() => parseMountTable(Buffer.from('22 1 254:0 / /\n'))).toThrow(FormatError);
  });

  it('can be read on this machine', () => {
    expect(findMount('/', readMountTable())).toBeDefined();
    expect(findMount('/proc')?.type).toBe('proc');
  });
});
