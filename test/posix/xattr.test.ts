// Extended attributes: namespaces, create and replace, limits, and who may do what.
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { hasProgram } from '../support/programs.ts';
import { forEachFileSystem } from './where.ts';

/** A file system may know no xattrs at all, or, as tmpfs before Linux 6.6, no user ones. */
function localLacks(directory: string): string | undefined {
  if (!hasProgram('setfattr')) return 'setfattr is not installed';
  const file = join(directory, 'probe');
  writeFileSync(file, '');
  const set = spawnSync('setfattr', ['-n', 'user.probe', '-v', '1', file]);
  return set.status === 0 ? undefined : 'no user xattrs there';
}

forEachFileSystem((fs) => {
  it('keeps binary values, empty ones too', async () => {
    await fs.sh('touch values && setfattr -n user.bytes -v 0x00ff0a0d00 values && setfattr -n user.empty values');
    expect(await fs.sh('getfattr -d -e hex values | sort')).toContain('user.bytes=0x00ff0a0d00\nuser.empty');
  });
}, { localLacks });
