// sdfs umount --force ends every mount, whatever state its processes, its disks and the programs on it are in.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { afterAll, afterEach, expect, it, onTestFinished } from 'vitest';
import { EXIT } from '../../src/base/errors.ts';
import { reasonWithout } from '../support/edges.ts';
import { LoopDisk } from '../support/loop-disk.ts';
import { describeOnMount } from '../support/mount.ts';
import type { Role, TestMount } from '../support/mount.ts';
import { delay, hasProgram, until } from '../support/programs.ts';

const MiB = 1024 * 1024;
const missing = ['mkfs.ext4', 'fsfreeze', 'losetup', 'python3'].find((name) => !hasProgram(name));
const LOOPS = { loopBytes: 256 * MiB, faults: true, missing: missing && `no ${missing}` };

const programs: ChildProcess[] = [];
afterEach(() => {
  for (const program of programs.splice(0)) program.kill('SIGKILL');
});

/** A program on the mount that is not waited for; its working directory is elsewhere. */
function start(mount: TestMount, program: string, ...args: string[]): ChildProcess {
  const child = spawn(program, args, { cwd: '/', env: mount.env, stdio: 'ignore' });
  child.on('error', () => {});
  programs.push(child);
  return child;
}

function stateOf(pid: number | undefined): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2)[0];
  } catch {
    return undefined;
  }
}

async function stop(mount: TestMount, ...roles: Role[]): Promise<void> {
  // The keeper answers who the others are.
  const pids = new Map(await Promise.all(roles.map(async (role) => [role, await mount.pids(role)] as const)));
  for (const role of roles) for (const pid of pids.get(role)!) process.kill(pid, 'SIGSTOP');
}

async function endByForce(mount: TestMount): Promise<string> {
  const ended = await mount.sdfs('umount', '--force', mount.mountpoint);
  expect(ended).toMatchObject({ code: 0 });
  expect(mount.isMounted()).toBe(false);
  return ended.stderr;
}

async function mountAgain(mount: TestMount): Promise<void> {
  await mount.mount();
  expect(readFileSync(mount.path('kept'), 'utf8')).toBe('kept');
}

/** Odd states that a mount can get into. */
const STATES: [string, (each: TestMount) => Promise<unknown>][] = [
  ['that serves programs', async (each) => start(each, 'sh', '-c', `cd '${each.mountpoint}'; while :; do echo x >> loop; done`)],
  ['whose workers are stopped', (each) => stop(each, 'worker')],
  ['whose driver is stopped', (each) => stop(each, 'driver')],
  ['whose keeper is stopped', (each) => stop(each, 'keeper')],
  ['of which all are stopped', (each) => stop(each, 'worker', 'driver', 'keeper')],
  ['whose keeper is stopped and whose driver is dead', async (each) => {
    const [driver] = await each.pids('driver');
    await stop(each, 'keeper');
    process.kill(driver!, 'SIGKILL');
  }],
  ['whose keeper and driver are dead', async (each) => {
    const [[driver], [keeper]] = [await each.pids('driver'), await each.pids('keeper')];
    process.kill(driver!, 'SIGSTOP');
    process.kill(keeper!, 'SIGKILL');
    process.kill(driver!, 'SIGKILL');
    await delay(500);
  }],
  ['on which a program is in D state, waiting for a stopped driver', async (each) => {
    // The kernel asks for the first open of a file, in a sleep that a signal ends; not for later ones, and in a page fault it heeds none.
    await each.sh('truncate -s 4M hole; : < hole');
    await stop(each, 'driver');
    const reader = start(each, 'python3', '-c', `import mmap,os\nm=mmap.mmap(os.open('${each.path('hole')}',os.O_RDWR),0)\nprint(m[1<<20])`);
    await until('it waits', () => stateOf(reader.pid) === 'D');
  }],
  ['that has another mount below it', async (each) => {
    await each.sh('mkdir -p below; mount -t tmpfs tmpfs below; touch below/file');
  }],
  ['that is detached and in use', async (each) => {
    const user = start(each, 'sh', '-c', `cd '${each.mountpoint}'; sleep 1000`);
    await delay(300);
    expect(stateOf(user.pid)).toBe('S');
    await each.mustSdfs('umount', '--lazy', each.mountpoint);
  }],
];

/** Brings the mount into a state, ends it by force, and mounts it again. */
async function endAndMountAgain(mount: TestMount, arrange: (each: TestMount) => Promise<unknown>): Promise<void> {
  if (!mount.isMounted()) await mount.mount();
  await mount.sh('printf kept > kept.new; mv kept.new kept');
  await arrange(mount);
  const target = mount.isMounted() ? mount.mountpoint : mount.volume;
  // Twice at once, as an impatient user does: the second one may come when all is over.
  const ends = await Promise.all([0, 1].map(() => mount.sdfs('umount', '--force', target)));
  expect(ends.map(({ code }) => code).filter((code) => code !== EXIT.notFound), ends.map(({ stderr }) => stderr).join('')).toContain(EXIT.ok);
  expect(mount.isMounted()).toBe(false);
  await until('all processes have ended', () => mount.serving().length === 0);
  await mountAgain(mount);
}

describeOnMount('a forced unmount ends the mount', { disks: 2, faults: true }, (mount) => {
  it.each(STATES)('%s', { timeout: 90_000 }, (_name, arrange) => endAndMountAgain(mount(), arrange));

  it('says why, in status, while there is nothing to be done but that', { timeout: 60_000 }, async () => {
    await stop(mount(), 'driver');
    start(mount(), 'ls', mount().path('nothing'));
    await until('status says it', async () => (await mount().status()).problems.some((problem) => /driver does not answer, it is stopped/.test(problem)), 8_000);
    await endByForce(mount());
    await mountAgain(mount());
  });

  it('that is being mounted, by a worker that is stopped', { timeout: 90_000 }, async () => {
    await mount().umount();
    const mounting = mount().mount().then(() => 'mounted', (error: Error) => error.message);
    await until('there are workers', () => mount().serving().some((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('worker')));
    for (const pid of mount().serving()) if (readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('worker')) process.kill(pid, 'SIGSTOP');
    await until('it is known', async () => (await mount().sdfs('umount', '--force', mount().volume)).code === 0);
    expect(await mounting).not.toBe('mounted');
    await until('all processes have ended', () => mount().serving().length === 0);
    await mountAgain(mount());
  });
});

describeOnMount('a forced unmount ends the mount by fuse-native', { disks: 2, driver: 'fuse-native', faults: true, missing: reasonWithout('fuse-native') }, (mount) => {
  // Those in which it matters that the mount is the driver's own.
  const states = STATES.filter(([name]) => /that serves|driver is stopped|driver are dead|detached/.test(name));
  it.each(states)('%s', { timeout: 90_000 }, (_name, arrange) => endAndMountAgain(mount(), arrange));
});

describeOnMount('a forced unmount of disks that hang', { ...LOOPS, disks: 2 }, (mount) => {
  it('ends, and so does the next one, when the disks go on', { timeout: 120_000 }, async () => {
    await mount().sh('printf kept > kept');
    await mount().mustSdfs('sync', mount().mountpoint);
    for (const loop of mount().loops) await loop.freeze();
    onTestFinished(async () => {
      for (const loop of mount().loops) await loop.thaw().catch(() => {});
    });
    const writer = start(mount(), 'dd', 'if=/dev/zero', `of=${mount().path('hanging')}`, 'bs=1M', 'count=4', 'oflag=sync');
    await delay(1500);
    expect(stateOf(writer.pid)).toMatch(/[DS]/);
    // Each with what it waits for.
    const { problems } = await mount().status();
    expect(problems.join('\n')).toMatch(/worker 0.*stands still.*worker 1.*stands still/s);
    await until('the request is named', async () => /request.* of (a program waits|programs wait), the oldest .WRITE of inode \d+/.test((await mount().status()).problems.join('\n')), 8_000);
    await endByForce(mount());
    for (const loop of mount().loops) await loop.thaw();
    await until('all processes have ended', () => mount().serving().length === 0);
    await mountAgain(mount());
    await mount().untilReady();
  });
});

describeOnMount("a forced unmount of a volume whose own directory is on a disk that hangs", { disks: 2, faults: true, missing: LOOPS.missing }, (mount) => {
  let below: LoopDisk | undefined;
  afterAll(() => below?.remove());

  it('ends, and says what is left of it', { timeout: 120_000 }, async () => {
    await mount().sh('printf kept > kept');
    await mount().umount();
    const aside = `${mount().volume}.aside`;
    await rename(mount().volume, aside);
    below = await LoopDisk.create(`${mount().volume}.image`, mount().volume, 256 * MiB);
    await mount().sh(`cp -a ${aside}/. ${mount().volume}/; sync -f ${mount().volume}`, { cwd: mount().root });
    await mount().mount();
    await below.freeze();
    onTestFinished(() => below!.thaw().catch(() => {}));
    start(mount(), 'sh', '-c', `cd '${mount().mountpoint}'; for i in $(seq 20000); do echo $i > f$((i % 500)); done`);
    await delay(3000);
    await endByForce(mount());
    await below.thaw();
    await until('all processes have ended', () => mount().serving().length === 0);
    await mountAgain(mount());
    await mount().umount();
  });
});
