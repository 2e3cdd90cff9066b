// The chaos run: see scripts/chaos. At most copies - 1 disks have a fault at a time, and the next has one only when every
// block is whole again; processes die at any time.
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { LoopDisk } from './loop-disk.mjs';
import { Load } from './load.mjs';
import { Teardown, paused, run, sdfs, signal, sleep } from './processes.mjs';
import { random } from './model.mjs';

const { values } = parseArgs({
  options: {
    faults: { type: 'string', default: '200' }, seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    disks: { type: 'string', default: '4' }, copies: { type: 'string', default: '2' }, writers: { type: 'string', default: '3' },
    only: { type: 'string' }, help: { type: 'boolean', short: 'h', default: false },
  },
});
if (values.help) {
  console.log(`scripts/chaos [--faults 200] [--seed N] [--disks 4] [--copies 2] [--writers 3] [--only FAULT,FAULT]

  --only   of: kill-worker kill-workers kill-driver kill-all stop-worker stop-driver upgrade vanish fail read-only freeze full rot`);
  process.exit(0);
}
const seed = Number(values.seed);
const chance = random(seed);
const pick = (list) => list[Math.floor(chance() * list.length)];
const between = (low, high) => low + chance() * (high - low);
const DISK_BYTES = 1024 * 2 ** 20;
const WHOLE_WITHIN_MS = 240_000;

const root = fs.mkdtempSync(join(tmpdir(), 'sdfs-chaos-'));
const journal = fs.mkdtempSync('/dev/shm/sdfs-chaos-');
const mountpoint = join(root, 'mnt');
const volume = join(root, 'volume');
const env = { ...process.env, SDFS_RUN_DIR: join(root, 'run'), SDFS_JOURNAL_DIR: journal, SDFS_CHAOS: root };
const findings = [];
const teardown = new Teardown();
teardown.add('directories', () => {
  fs.rmSync(journal, { recursive: true, force: true });
  if (findings.length === 0) fs.rmSync(root, { recursive: true, force: true });
  else console.log(`kept for a look: ${root}`);
});

const status = async () => JSON.parse(await sdfs(['status', '--json', mountpoint], { env }).catch((error) => {
  // A volume that is not well says so with its exit code, and prints its status all the same.
  const text = error.message.slice(error.message.indexOf('{'), error.message.lastIndexOf('}') + 1);
  if (text === '') throw error;
  return text;
}));

async function pidsOf(role) {
  const { processes } = await status();
  return processes.flatMap((entry) => (entry.role === role && entry.pid !== null ? [entry.pid] : []));
}

const disks = [];

/** Faults of processes: over when they return. */
const PROCESS_FAULTS = {
  'kill-worker': async () => signal([pick(await pidsOf('worker'))], 'SIGKILL'),
  'kill-workers': async () => signal(await pidsOf('worker'), 'SIGKILL'),
  'kill-driver': async () => signal(await pidsOf('driver'), 'SIGKILL'),
  'kill-all': async () => signal([...(await pidsOf('driver')), ...(await pidsOf('worker'))], 'SIGKILL'),
  'stop-worker': async () => paused([pick(await pidsOf('worker'))], between(100, 14_000)),
  'stop-driver': async () => paused(await pidsOf('driver'), between(100, 5_000)),
  upgrade: async () => sdfs(['upgrade', mountpoint], { env }),
};

/** Faults of one disk: begun by one step, ended by the other. */
const DISK_FAULTS = {
  vanish: { begin: (disk) => disk.vanish(signal, pidsOf), end: (disk) => disk.comeBack() },
  fail: { begin: (disk) => disk.fail(), end: (disk) => disk.comeBack() },
  'read-only': { begin: (disk) => disk.readOnly(), end: (disk) => disk.comeBack() },
  freeze: { begin: (disk) => disk.freeze(), end: (disk) => disk.thaw() },
  full: { begin: (disk) => disk.fill(), end: (disk) => disk.unfill() },
  rot: { begin: (disk) => disk.rot(chance), end: () => sdfs(['scrub', '--wait', mountpoint], { env, timeoutMs: WHOLE_WITHIN_MS }) },
};

async function untilWhole(what) {
  const end = Date.now() + WHOLE_WITHIN_MS;
  let last;
  do {
    last = await status().catch((error) => ({ health: 'unknown', problems: [error.message] }));
    if (last.health === 'good') return;
    await sleep(500);
  } while (Date.now() < end);
  throw new Error(`after ${what} the volume is not whole again in ${WHOLE_WITHIN_MS / 1000} s: ${last.health}: ${last.problems.join('; ')}`);
}

async function setUp() {
  for (const directory of [mountpoint, join(root, 'ledgers')]) fs.mkdirSync(directory);
  for (let index = 0; index < Number(values.disks); index++) {
    const disk = new LoopDisk(join(root, `disk${index}.img`), join(root, `disk${index}`));
    teardown.add(`remove disk ${index}`, () => disk.remove());
    await disk.create(DISK_BYTES);
    disks.push(disk);
  }
  await sdfs(['init', '--copies', values.copies, ...disks.flatMap(({ directory }) => ['--disk', directory]), volume], { env });
  await sdfs(['mount', '-d', volume, mountpoint], { env });
  teardown.add('unmount sdfs', () => (fs.existsSync(mountpoint) ? sdfs(['umount', '--force', mountpoint], { env }).catch(() => {}) : undefined));
  fs.chmodSync(mountpoint, 0o777);
}

const counts = {};
let openFault;

async function endDiskFault() {
  if (openFault === undefined) return;
  const { kind, disk } = openFault;
  openFault = undefined;
  await DISK_FAULTS[kind].end(disk);
  console.log(`  ${kind} of ${disk.name} ends`);
  await untilWhole(`${kind} of ${disk.name}`);
}

async function fault(kinds) {
  const kind = pick(kinds.filter((name) => openFault === undefined || PROCESS_FAULTS[name] !== undefined));
  if (kind === undefined) return;
  counts[kind] = (counts[kind] ?? 0) + 1;
  if (PROCESS_FAULTS[kind] !== undefined) {
    console.log(`  ${kind}`);
    await PROCESS_FAULTS[kind]();
    return;
  }
  await untilWhole('processes that were killed');
  const disk = pick(disks);
  console.log(`  ${kind} of ${disk.name}`);
  openFault = { kind, disk, until: Date.now() + between(1_000, 40_000) };
  await DISK_FAULTS[kind].begin(disk);
}

function residentBytes(pid) {
  return Number(/RssAnon:\s+(\d+)/.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
}

let interrupted = false;
process.on('SIGINT', () => { interrupted = true; });
try {
  console.log(`seed ${seed}`);
  await setUp();
  const kinds = values.only?.split(',') ?? [...Object.keys(PROCESS_FAULTS), ...Object.keys(PROCESS_FAULTS), ...Object.keys(DISK_FAULTS)];
  const load = new Load({ mountpoint, ledgers: join(root, 'ledgers'), writers: Number(values.writers), seed, allow: kinds.includes('full') ? ['ENOSPC'] : [], onFinding: (text) => findings.push(text) });
  teardown.add('end the load', () => load.stop());
  load.start();
  for (let number = 1; number <= Number(values.faults) && findings.length === 0 && !interrupted; number++) {
    await sleep(between(100, 3_000));
    if (openFault !== undefined && Date.now() > openFault.until) await endDiskFault();
    await fault(kinds);
    if (number % 20 === 0) {
      await endDiskFault();
      await load.renew();
      console.log(`${number} faults, ${load.steps} steps, longest pause ${load.longestPauseMs} ms`);
    }
  }
  await endDiskFault();
  await untilWhole('all faults');
  findings.push(...(await load.stopAndVerify('process')));
  await sdfs(['sync', mountpoint], { env });
  await sdfs(['gc', mountpoint], { env, timeoutMs: WHOLE_WITHIN_MS });
  const gc = JSON.parse(await sdfs(['gc', '--dry-run', '--json', mountpoint], { env, timeoutMs: WHOLE_WITHIN_MS }));
  if (gc.garbageCopies > 0) findings.push(`${gc.garbageCopies} copies of blocks that no file names are left`);
  const [driver] = await pidsOf('driver');
  const workers = await pidsOf('worker');
  console.log(`memory: driver ${Math.round(residentBytes(driver) / 2 ** 20)} MiB, workers ${workers.map((pid) => Math.round(residentBytes(pid) / 2 ** 20)).join(', ')} MiB`);
  await sdfs(['umount', mountpoint], { env });
  await sdfs(['mount', '-d', volume, mountpoint], { env });
  findings.push(...load.verify('process').map((text) => `after a new mount: ${text}`));
  await sdfs(['umount', mountpoint], { env });
  const left = (await run('bash', ['-c', `grep -lz "^SDFS_CHAOS=${root}$" /proc/[0-9]*/environ 2>/dev/null || true`])).split('\n').filter((line) => line !== '' && !line.includes(`/${process.pid}/`) && fs.existsSync(line));
  if (left.length > 0) findings.push(`processes are left: ${left.join(' ')}`);
  console.log(`${load.steps} steps of ${values.writers} writers, ${load.skipped} refused with ENOSPC, ${load.transactions} SQLite transactions; longest pause ${load.longestPauseMs} ms`);
} catch (error) {
  findings.push(error.message);
} finally {
  await teardown.run();
}
console.log(Object.entries(counts).map(([kind, count]) => `${count} ${kind}`).join(', '));
console.log(`${findings.length} findings`);
for (const finding of findings) console.log(`- ${finding}`);
process.exit(findings.length > 0 ? 1 : 0);
