// The power cut: see scripts/power-cut.
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Load } from './load.mjs';
import { CLI, Teardown, run, sdfs, signal, sleep } from './processes.mjs';
import { random } from './model.mjs';

const { values } = parseArgs({
  options: {
    cuts: { type: 'string', default: '100' }, seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    disks: { type: 'string', default: '4' }, copies: { type: 'string', default: '2' }, writers: { type: 'string', default: '3' },
    lose: { type: 'boolean', default: false }, keep: { type: 'boolean', default: false }, change: { type: 'boolean', default: false }, help: { type: 'boolean', short: 'h', default: false },
  },
});
if (values.help) {
  console.log(`scripts/power-cut [--cuts 100] [--seed N] [--disks 4] [--copies 2] [--writers 3] [--lose] [--change] [--keep]

  --cuts N     cuts to make, half of them with all disks at one instant, half with each disk at an instant of its own
  --lose       every other cut also takes copies - 1 disks away for good, chosen at random
  --change     each cut falls into an "sdfs upgrade", the drain of a disk, or its end
  --keep       the images of the first cut that fails stay, beside its log and status
  --seed N     of the writers and of the instants`);
  process.exit(0);
}
const cuts = Number(values.cuts);
const seed = Number(values.seed);
const diskCount = Number(values.disks);
const copies = Number(values.copies);
const chance = random(seed);
const DISK_BYTES = 768 * 2 ** 20;
/** Between the first disk's last instant and the last one's, at most. */
const SKEW_MS = 40;
const CUTS_PER_LOAD = 5;

const root = fs.mkdtempSync(join(tmpdir(), 'sdfs-power-cut-'));
const memory = fs.mkdtempSync('/dev/shm/sdfs-power-cut-');
const teardown = new Teardown();
teardown.add('directories', () => { for (const directory of [root, memory]) fs.rmSync(directory, { recursive: true, force: true }); });
const place = (...parts) => join(root, ...parts);
const env = { ...process.env, SDFS_RUN_DIR: place('run'), SDFS_JOURNAL_DIR: join(memory, 'journal') };

const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const names = [...Array.from({ length: diskCount }, (_, index) => `disk${index}`), 'system'];

async function mountLoop(image, directory, type) {
  await run('mount', ['-t', type, '-o', 'loop', image, directory]);
  teardown.add(`unmount ${directory}`, () => run('umount', ['-l', directory]));
}

async function setUp() {
  for (const directory of ['store', 'live', 'ledgers', 'check', ...names.map((name) => join('live', name)), 'live/mnt']) fs.mkdirSync(place(directory));
  fs.mkdirSync(join(memory, 'journal'));
  fs.writeFileSync(place('store.img'), '');
  fs.truncateSync(place('store.img'), DISK_BYTES * (names.length + 4));
  await run('mkfs.xfs', ['-q', '-m', 'reflink=1', place('store.img')]);
  await mountLoop(place('store.img'), place('store'), 'xfs');
  for (const name of names) {
    const image = place('store', `${name}.img`);
    fs.writeFileSync(image, '');
    fs.truncateSync(image, DISK_BYTES);
    await run('mkfs.ext4', ['-q', '-E', 'lazy_itable_init=0,lazy_journal_init=0', image]);
    await mountLoop(image, place('live', name), 'ext4');
  }
  const disks = names.slice(0, diskCount).flatMap((name) => ['--disk', place('live', name)]);
  await sdfs(['init', '--copies', String(copies), ...disks, place('live/system/volume')], { env });
  await sdfs(['mount', '-d', place('live/system/volume'), place('live/mnt')], { env });
  teardown.add('unmount sdfs', () => sdfs(['umount', '--force', place('live/mnt')], { env }));
  fs.chmodSync(place('live/mnt'), 0o777);
}

/** All that serve the mount at this instant, the one that starts the others first, and of each disk its worker. */
function servingPids(keeper) {
  const children = fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name)).flatMap((name) => {
    try {
      const parent = Number(fs.readFileSync(`/proc/${name}/stat`, 'latin1').replace(/^.*\) /, '').split(' ')[1]);
      return parent === keeper ? [{ pid: Number(name), command: fs.readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0') }] : [];
    } catch {
      return [];
    }
  });
  return {
    all: [keeper, ...children.map(({ pid }) => pid)],
    ofDisk: (name) => children.filter(({ command }) => command.includes(place('live', name))).map(({ pid }) => pid),
  };
}

async function keeperPid() {
  const { processes } = JSON.parse(await sdfs(['status', '--json', place('live/mnt')], { env }));
  return processes.find(({ role }) => role === 'keeper').pid;
}

let drained;
/** Begins a change of the volume that takes a while. Resolves when it is done. */
function change() {
  const target = ['--volume', place('live/mnt')];
  if (chance() < 0.4) return sdfs(['upgrade', place('live/mnt')], { env });
  if (drained !== undefined) {
    const undone = drained;
    drained = undefined;
    return sdfs(['disk', 'drain', '--undo', ...target, place('live', undone)], { env });
  }
  drained = names[Math.floor(chance() * diskCount)];
  return sdfs(['disk', 'drain', '--wait', ...target, place('live', drained)], { env });
}

const clone = (name, into) => run('cp', ['--reflink=always', place('store', `${name}.img`), place('store', into, `${name}.img`)]);

/** What must be there is read before the first disk stops, what may be there after the last. */
function copyLedgers(from, into, { counters }) {
  for (const name of fs.readdirSync(from)) {
    const bytes = fs.readFileSync(join(from, name));
    const target = join(into, name);
    if (counters === 'synced') fs.writeFileSync(target, bytes);
    else {
      // A writer that began in between has been promised nothing yet.
      const copy = fs.existsSync(target) ? fs.readFileSync(target) : Buffer.alloc(12);
      bytes.copy(copy, 0, 0, 8);
      fs.writeFileSync(target, copy);
    }
  }
}

async function cutTogether(into, load, keeper) {
  const pids = [...load.pids, ...servingPids(keeper).all];
  signal(pids, 'SIGSTOP');
  try {
    copyLedgers(load.ledgers, place('store', into, 'ledgers'), { counters: 'synced' });
    for (const name of names) await clone(name, into);
  } finally {
    signal(pids.toReversed(), 'SIGCONT');
  }
}

/** A disk that has lost its power acknowledges nothing any more, whatever the others still do: its worker stops with it. */
async function cutApart(into, load, keeper) {
  const ledgers = place('store', into, 'ledgers');
  copyLedgers(load.ledgers, ledgers, { counters: 'synced' });
  const stopped = [];
  try {
    await Promise.all(names.map(async (name) => {
      await sleep(chance() * SKEW_MS);
      const workers = servingPids(keeper).ofDisk(name);
      stopped.push(...workers);
      signal(workers, 'SIGSTOP');
      await clone(name, into);
    }));
  } finally {
    signal(stopped, 'SIGCONT');
  }
  copyLedgers(load.ledgers, ledgers, { counters: 'begun' });
}

/**
 * What a check that changes nothing has to say of the copies, before anything is repaired: every block that the metadata
 * names was synced on R disks before the metadata was.
 */
const COPIES_CHECK = `
const { findings } = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));
const wrong = findings.filter(({ kind, note }) => !note && kind !== 'logCopies');
if (wrong.length > 0) { console.error('before the first mount: ' + wrong.map(({ count, means, examples }) => count + ' x ' + means + ' ' + JSON.stringify(examples.slice(0, 2))).join('; ')); process.exit(1); }`;
/** The same after a scrub: no copy was bad either. */
const SCRUB_CHECK = `
const { last: counts } = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));
if (counts !== null && counts.damagedCopies + counts.missingCopies + counts.unreadableBlocks > 0) { console.error('after the first mount: ' + JSON.stringify(counts)); process.exit(1); }`;

/** In a mount namespace of its own, where the clones lie in the places of the disks, after a boot with another id. */
async function recover(into, { lost, load, look }) {
  const check = place('store', into);
  fs.mkdirSync(join(check, 'mnt'));
  const bootId = join(check, 'boot_id');
  fs.writeFileSync(bootId, `${crypto.randomUUID()}\n`);
  const journal = join(memory, into);
  const kept = join(tmpdir(), `sdfs-power-cut-${seed}`, into);
  fs.mkdirSync(kept, { recursive: true });
  fs.mkdirSync(journal);
  const mounts = names.filter((name) => !lost.includes(name)).map((name) => `mount -o loop ${join(check, `${name}.img`)} ${place('live', name)}`);
  const script = [
    `mount --bind ${bootId} /proc/sys/kernel/random/boot_id`,
    ...names.map((name) => `umount -l ${place('live', name)}`), ...mounts,
    `sdfs() { timeout 100 ${process.execPath} ${CLI} "$@"; }`,
    `trap 'sdfs status --json ${join(check, 'mnt')} >${kept}/status.json || true; cp ${place('live/system/volume/log/sdfs.log')} ${kept}; sdfs umount --force ${join(check, 'mnt')} >/dev/null 2>&1 || true' EXIT`,
    ...(look ? [`{ sdfs fsck --json ${place('live/system/volume')} || true; } >${check}/fsck.json`, `${process.execPath} -e ${quote(COPIES_CHECK)} <${check}/fsck.json`] : []),
    `sdfs mount -d ${lost.length > 0 ? '--force-degraded ' : ''}${place('live/system/volume')} ${join(check, 'mnt')} >/dev/null`,
    `timeout 100 ${process.execPath} ${join(import.meta.dirname, 'verify.mjs')} ${join(check, 'mnt', load.name)} ${join(check, 'ledgers')} power ${load.seeds.join(' ')}`,
    ...(lost.length === 0 ? [`{ sdfs scrub --rate 1G --wait --json ${join(check, 'mnt')} || true; } >${check}/scrub.json`, `${process.execPath} -e ${quote(SCRUB_CHECK)} <${check}/scrub.json`] : []),
    `echo new >${join(check, 'mnt/after')} && rm -rf ${join(check, 'mnt', load.name)}`,
    `sdfs umount ${join(check, 'mnt')} >/dev/null`,
    'trap - EXIT',
  ].join('\n');
  try {
    await run('unshare', ['--mount', '--propagation', 'private', 'bash', '-euo', 'pipefail', '-c', script], { env: { ...env, SDFS_RUN_DIR: join(check, 'run'), SDFS_JOURNAL_DIR: journal }, timeoutMs: 300_000, cwd: '/' });
    fs.rmSync(kept, { recursive: true });
  } finally {
    fs.rmSync(journal, { recursive: true, force: true });
  }
}

const found = [];
const counts = { together: 0, apart: 0, lost: 0 };
let interrupted = false;
process.on('SIGINT', () => { interrupted = true; });
try {
  console.log(`seed ${seed}`);
  await setUp();
  const load = new Load({ mountpoint: place('live/mnt'), ledgers: place('ledgers'), writers: Number(values.writers), seed, allow: [], onFinding: (text) => found.push(text) });
  load.start();
  teardown.add('end the load', () => load.stop());
  const keeper = await keeperPid();
  for (let cut = 1; cut <= cuts && !interrupted; cut++) {
    if (cut % CUTS_PER_LOAD === 0) await load.renew();
    await sleep(200 + chance() * 2000);
    const changed = values.change ? change().catch((error) => { found.push(`before cut ${cut}: ${error.message}`); }) : undefined;
    if (values.change) await sleep(chance() * 1500);
    const kind = cut % 2 === 0 ? 'apart' : 'together';
    const into = `cut${cut}`;
    fs.mkdirSync(place('store', into, 'ledgers'), { recursive: true });
    if (kind === 'together') await cutTogether(into, load, keeper);
    else await cutApart(into, load, keeper);
    const lost = values.lose && cut % 4 > 1 ? names.slice(0, diskCount).sort(() => chance() - 0.5).slice(0, copies - 1) : [];
    const start = performance.now();
    let result = 'recovered';
    try {
      // Half of those with all disks are looked at by fsck before anything may have been repaired.
      await recover(into, { lost, load, look: lost.length === 0 && chance() < 0.5 });
    } catch (error) {
      result = 'FAILED';
      found.push(`cut ${cut} (${kind}${lost.map((name) => `, without ${name}`).join('')}): ${error.message.slice(error.message.indexOf('exit code')).split('\n').filter((line) => line.trim() !== '').slice(0, 8).join(' | ')}`);
      console.error(found.at(-1));
      if (values.keep && found.length === 1) await run('cp', ['-r', '--sparse=always', place('store', into), join(tmpdir(), `sdfs-power-cut-${seed}`)]);
    }
    await run('rm', ['-rf', place('store', into)]);
    await changed;
    counts[kind]++;
    counts.lost += lost.length > 0 ? 1 : 0;
    console.log(`cut ${cut}: ${kind}${lost.map((name) => `, without ${name}`).join('')}: ${result} in ${Math.round(performance.now() - start)} ms`);
    if (found.length >= 10) break;
  }
} catch (error) {
  found.push(error.message);
  console.error(error);
} finally {
  await teardown.run();
}
console.log(`${counts.together} cuts at one instant, ${counts.apart} with each disk at its own, ${counts.lost} with lost disks: ${found.length} findings`);
for (const finding of found) console.log(`- ${finding}`);
process.exit(found.length > 0 ? 1 : 0);
