// The files of a volume directory: description, state, lock; and how a volume is made.
import { appendFileSync, chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EXIT } from '../../src/base/errors.ts';
import type { WorkerId } from '../../src/base/ids.ts';
import { initDisk, readIdentity } from '../../src/disk/identity.ts';
import { createVolume, planVolume } from '../../src/keeper/init.ts';
import type { DriverEpoch } from '../../src/base/ids.ts';
import { VolumeState } from '../../src/keeper/state.ts';
import { VolumeLock } from '../../src/keeper/volume-lock.ts';
import { readVolume, volumePaths } from '../../src/keeper/volume.ts';
import { quiet } from './fixture.ts';

let root: string;
let volume: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'sdfs-volume-'));
  volume = join(root, 'volume');
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function makeDisks(...names: string[]): string[] {
  return names.map((name) => {
    mkdirSync(join(root, name), { recursive: true });
    return join(root, name);
  });
}

async function makeVolume(): Promise<void> {
  await createVolume(planVolume({ volumeDirectory: volume, disks: [] }), initDisk);
}

const exitsWith = (exitCode: number, message?: RegExp) => expect.objectContaining({ exitCode, ...(message && { message: expect.stringMatching(message) }) });
function failureOf(action: () => unknown): unknown {
  try {
    return action();
  } catch (error) {
    return error;
  }
}

describe('a new volume', () => {
  it('gets four disks of its own and two copies when nothing is said', async () => {
    await makeVolume();
    const description = readVolume(volume);
    expect(description).toMatchObject({ copies: 2, name: 'volume', blockBytes: 1048576 });
    expect(description.disks.map((disk) => disk.directory)).toEqual([0, 1, 2, 3].map((index) => join(volume, 'disks', String(index))));
    expect(readIdentity(join(volume, 'disks/2'))).toMatchObject({ worker: 2, description });
  });

  it('keeps one copy on a single disk', () => {
    expect(planVolume({ volumeDirectory: volume, disks: makeDisks('a') }).description.copies).toBe(1);
  });

  it('may hold its disk directories', () => {
    const disks = makeDisks('volume/a', 'volume/b');
    expect(planVolume({ volumeDirectory: volume, disks }).description.disks.map((disk) => disk.directory)).toEqual(disks);
  });

  it('can be moved with the disks in it', async () => {
    await makeVolume();
    const elsewhere = join(root, 'elsewhere');
    renameSync(volume, elsewhere);
    expect(readVolume(elsewhere).disks[0]?.directory).toBe(join(elsewhere, 'disks/0'));
  });

  it('names the disks that share a device', () => {
    expect(planVolume({ volumeDirectory: volume, disks: makeDisks('a', 'b', 'c') }).sharedDevices).toEqual([[0, 1, 2]]);
  });

  it('is taken away again when a disk fails while it is made', async () => {
    const disks = makeDisks('a', 'b');
    const plan = planVolume({ volumeDirectory: volume, disks });
    const failing = (directory: string, options: Parameters<typeof initDisk>[1]) => {
      if (options.worker === (1 as WorkerId)) throw new Error('no');
      initDisk(directory, options);
    };
    await expect(createVolume(plan, failing)).rejects.toThrow(/cannot make the volume/);
    expect(existsSync(volume)).toBe(false);
    expect(disks.map((disk) => readdirSync(disk))).toEqual([[], []]);
  });
});

describe('a request for a volume is refused, and changes nothing,', () => {
  it.each([
    ['when a disk is missing', () => [join(root, 'none')], {}, EXIT.notFound, /does not exist/],
    ['when a disk is a file', () => [file('f')], {}, EXIT.usage, /not a directory/],
    ['when a disk holds something', () => [...makeDisks('a'), full('b')], {}, EXIT.foreign, /not empty \(it holds letter\)/],
    ['when a disk is given twice', () => [...makeDisks('a'), ...makeDisks('a')], {}, EXIT.usage, /the same/],
    ['when a disk lies in another', () => makeDisks('a/b').concat(join(root, 'a')), {}, EXIT.foreign, /not empty/],
    ['when there are fewer disks than copies', () => makeDisks('a', 'b'), { copies: 3 }, EXIT.usage, /3 copies need 3 disks/],
    ['with no copies', () => makeDisks('a'), { copies: 0 }, EXIT.usage, /--copies 0/],
    ['with a block size that is no power of two', () => makeDisks('a'), { blockBytes: 100_000 }, EXIT.usage, /--block-size/],
    ['with blocks that are too large', () => makeDisks('a'), { blockBytes: 2 ** 21 }, EXIT.usage, /--block-size/],
    ['with a name of control characters', () => makeDisks('a'), { name: 'a\nb' }, EXIT.usage, /--name/],
  ])('%s', (_when, disks, options, exitCode, message) => {
    const given = disks();
    const before = readdirSync(root, { recursive: true }).toSorted();
    expect(failureOf(() => planVolume({ volumeDirectory: volume, disks: given, ...options }))).toEqual(exitsWith(exitCode, message));
    expect(readdirSync(root, { recursive: true }).toSorted()).toEqual(before);
  });

  it('when a disk belongs to another volume', async () => {
    await makeVolume();
    expect(failureOf(() => planVolume({ volumeDirectory: join(root, 'second'), disks: [join(volume, 'disks/1')] }))).toEqual(exitsWith(EXIT.foreign, /disk 1 of the volume "volume"/));
  });

  it('when there is a volume already', async () => {
    await makeVolume();
    expect(failureOf(() => planVolume({ volumeDirectory: volume, disks: [] }))).toEqual(exitsWith(EXIT.foreign, /is an sdfs volume already/));
  });

  it('when the directory holds something else', () => {
    makeDisks('volume');
    full('volume');
    expect(failureOf(() => planVolume({ volumeDirectory: volume, disks: [] }))).toEqual(exitsWith(EXIT.foreign, /not empty/));
  });

  function file(name: string): string {
    writeFileSync(join(root, name), '');
    return join(root, name);
  }
  function full(name: string): string {
    mkdirSync(join(root, name), { recursive: true });
    writeFileSync(join(root, name, 'letter'), '');
    return join(root, name);
  }
});

describe('a volume file', () => {
  const edit = (change: (content: Record<string, unknown>) => void) => {
    const path = volumePaths(volume).description;
    const content = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
    // Else the change would be taken for damage.
    delete content.crc;
    change(content);
    writeFileSync(path, JSON.stringify(content));
  };

  it.each([
    ['of a newer version', (content: Record<string, unknown>): unknown => (content.version = 2), EXIT.unsupported, /newer sdfs/],
    ['without a version', (content: Record<string, unknown>): unknown => delete content.version, EXIT.damaged, /damaged \(version/],
    ['with more copies than disks', (content: Record<string, unknown>): unknown => (content.copies = 9), EXIT.damaged, /more copies than disks/],
    ['with a broken id', (content: Record<string, unknown>): unknown => (content.volume = 'x'), EXIT.damaged, /32 hex digits/],
  ])('%s is refused', async (_what, change: (content: Record<string, unknown>) => unknown, exitCode, message) => {
    await makeVolume();
    edit(change);
    expect(failureOf(() => readVolume(volume))).toEqual(exitsWith(exitCode, message));
  });

  it('that is no JSON is refused as damaged', async () => {
    await makeVolume();
    appendFileSync(volumePaths(volume).description, '}');
    expect(failureOf(() => readVolume(volume))).toEqual(exitsWith(EXIT.damaged, /not JSON/));
  });

  it('that is missing says how to make a volume', () => {
    expect(failureOf(() => readVolume(volume))).toEqual(exitsWith(EXIT.notFound, /sdfs init/));
  });
});

describe('the state of a volume', () => {
  const open = (problems: string[] = []) => new VolumeState(volumePaths(volume).state, { onProblem: (message) => problems.push(message) });

  it('counts drivers over mounts', async () => {
    await makeVolume();
    const first = open();
    expect([first.nextEpoch(), first.nextEpoch()]).toEqual([1, 2]);
    expect(open().nextEpoch()).toBe(3);
  });

  it('goes on behind the newest driver that any disk has met', async () => {
    await makeVolume();
    const state = open();
    state.startBehind(7 as DriverEpoch);
    state.startBehind(3 as DriverEpoch);
    expect(state.nextEpoch()).toBe(8);
  });

  it('that is lost goes on with an epoch above all that were', async () => {
    await makeVolume();
    writeFileSync(volumePaths(volume).state, '{');
    const problems: string[] = [];
    const state = open(problems);
    expect(state.nextEpoch()).toBeGreaterThan(1_000_000_000);
    expect(problems).toHaveLength(1);
  });
});

describe('the lock of a volume', () => {
  const acquire = () => VolumeLock.acquire(volumePaths(volume).lock, { mountpoint: '/somewhere', log: quiet });

  it('is had by one at a time and free after its release', async () => {
    await makeVolume();
    const lock = await acquire();
    await expect(acquire()).rejects.toEqual(exitsWith(EXIT.busy, /end that mount first: sdfs umount \/somewhere/));
    await lock.release();
    await (await acquire()).release();
  });

  it('is taken over at once from an owner that died', async () => {
    await makeVolume();
    mkdirSync(`${volumePaths(volume).lock}.held`);
    await (await acquire()).release();
  });

  it('is not taken over from another machine', async () => {
    await makeVolume();
    mkdirSync(`${volumePaths(volume).lock}.held`);
    writeFileSync(volumePaths(volume).lock, JSON.stringify({ pid: 7, startTime: '1', host: 'another-machine', bootId: 'x', mountpoint: '/mnt/far', since: 'then' }));
    await expect(acquire()).rejects.toEqual(exitsWith(EXIT.busy, /on another-machine/));
  });
});

describe.skipIf(process.getuid?.() === 0)('without root, a volume', () => {
  it('is refused in a directory that cannot be written', () => {
    const [disk = ''] = makeDisks('a');
    chmodSync(disk, 0o500);
    expect(failureOf(() => planVolume({ volumeDirectory: volume, disks: [disk] }))).toEqual(exitsWith(EXIT.denied));
  });
});
