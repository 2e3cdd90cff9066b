// Real programs with checks of their own, a short turn of each: what scripts/soak does at length.
import { resolve } from 'node:path';
import { expect, it } from 'vitest';
import { describeOnMount } from '../support/mount.ts';

const SOAK = resolve(import.meta.dirname, '../../scripts/soak');

describeOnMount('real programs', { disks: 4 }, (mount) => {
  const passes = async (name: string): Promise<void> => {
    const { code, stdout, stderr } = await mount().run('bash', [SOAK, '--short', '--on', mount().mountpoint, name], { timeoutMs: 150_000 });
    expect(code, stdout + stderr).toBe(0);
    expect(stdout).toContain('all passed');
  };

  it('git clones, rebases, collects garbage, works in several trees at once, and fsck finds nothing', { timeout: 180_000 }, () => passes('git'));
  it('SQLite keeps every transaction of several writers in each journal mode while others are killed', { timeout: 180_000 }, () => passes('sqlite'));
  it('make builds what has changed and nothing else', { timeout: 180_000 }, () => passes('make'));
  it('rsync -aHAX finds nothing to do the second time', { timeout: 180_000 }, () => passes('rsync'));
  it('tar gives back ACLs, attributes and times to the nanosecond', { timeout: 180_000 }, () => passes('tar'));
});
