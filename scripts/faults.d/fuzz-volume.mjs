// Random damage to the files of whole volumes: see scripts/fuzz-volume.
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { damageFile } from './damage.mjs';
import { readLedger } from './ledger.mjs';
import { random } from './model.mjs';
import { Teardown, run, sdfs, sleep, startWriter } from './processes.mjs';

const TARGETS = ['one', 'few', 'kind', 'disk', 'volume'];
const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '100' }, seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    first: { type: 'string', default: '1' }, target: { type: 'string' }, path: { type: 'string' }, state: { type: 'string' },
    keep: { type: 'boolean', default: false }, help: { type: 'boolean', short: 'h', default: false },
  },
});
if (values.help) {
  console.log(`scripts/fuzz-volume [--rounds 100] [--seed N] [--first N] [--target T,T] [--path WORD] [--state clean|killed] [--keep]

  --first N    begin with round N of the seed, to see a finding again
  --target T   of: one (file of a disk), few (files of it), kind (all files of one kind), disk (all its files), volume
               (some files of the volume directory)
  --path WORD  only files whose path has this word in it
  --state S    damage only what a clean unmount left, or only what kill -9 of everything left
  --keep       keep everything after the first finding`);
  process.exit(0);
}
const seed = Number(values.seed);
const targets = values.target?.split(',') ?? TARGETS;
const states = values.state === undefined ? ['clean', 'killed'] : [values.state];
const DISKS = 3;
const WRITERS = 2;
const WRITE_MS = 4_000;
const HEALTHY_MS = 90_000;
/** Starts of one process after one damage: more is a crash in a loop. */
const RESTARTS_MAX = 4;
/** What no copy can replace: a mount may be refused, or made without the disk, in words that name the file. */
const IDENTITY = /sdfs-(disk|volume)\.json$/;

const root = fs.mkdtempSync(join(tmpdir(), 'sdfs-fuzz-'));
const live = join(root, 'live');
const mountpoint = join(root, 'mnt');
const volume = join(live, 'volume');
const env = { ...process.env, SDFS_RUN_DIR: join(root, 'run'), SDFS_JOURNAL_DIR: join(live, 'journal') };
const findings = [];
const teardown = new Teardown();
teardown.add('directories', () => { if (!values.keep || findings.length === 0) fs.rmSync(root, { recursive: true, force: true }); });

const mount = () => sdfs(['mount', '-d', volume, mountpoint], { env, timeoutMs: 100_000 });
const umount = () => sdfs(['umount', mountpoint], { env, timeoutMs: 100_000 });
const diskNames = Array.from({ length: DISKS }, (_, index) => `disk${index}`);
const state = { files: new Map(), crashes: {}, counts: {}, refused: 0, degraded: 0 };

async function status() {
  const text = await sdfs(['status', '--json', mountpoint], { env }).catch((error) => error.message);
  return JSON.parse(text.slice(text.indexOf('{'), text.lastIndexOf('}') + 1));
}

async function copy(from, to) {
  fs.rmSync(to, { recursive: true, force: true });
  await run('cp', ['-a', '--sparse=always', from, to]);
}

async function init() {
  for (const name of [...diskNames, 'journal']) fs.mkdirSync(join(live, name), { recursive: true });
  await sdfs(['init', '--copies', '2', ...diskNames.flatMap((name) => ['--disk', join(live, name)]), volume], { env });
}

async function write(name, writerSeed) {
  const directory = join(mountpoint, name);
  const ledgers = join(root, 'ledgers', name);
  fs.mkdirSync(directory);
  fs.mkdirSync(ledgers, { recursive: true });
  const writers = Array.from({ length: WRITERS }, (_, index) => startWriter(directory, index, writerSeed + index, join(ledgers, String(index))));
  await sleep(WRITE_MS);
  for (const said of await Promise.all(writers.map((writer) => writer.stop()))) if (said !== undefined) throw new Error(said);
  state.files.set(name, { ledgers, seeds: writers.map((_, index) => writerSeed + index) });
}

async function verify() {
  for (const [name, { ledgers, seeds }] of state.files) {
    await run(process.execPath, [join(import.meta.dirname, 'verify.mjs'), join(mountpoint, name), ledgers, 'process', ...seeds.map(String)], { timeoutMs: 100_000 });
  }
}

/** Two states of one volume, and another volume with its like. */
async function prepare() {
  for (const directory of [live, mountpoint, join(root, 'ledgers'), join(root, 'kept')]) fs.mkdirSync(directory);
  await run('mount', ['-t', 'tmpfs', '-o', 'size=1g', 'none', live]);
  teardown.add('unmount tmpfs', () => run('umount', ['-l', live]));
  teardown.add('unmount sdfs', () => sdfs(['umount', '--force', mountpoint], { env }).catch(() => {}));
  await init();
  await mount();
  await write('other', seed + 100);
  await umount();
  await copy(live, join(root, 'kept/foreign'));
  state.files.clear();
  await run('find', [live, '-mindepth', '1', '-delete']);
  await init();
  await mount();
  await write('early', seed + 200);
  await umount();
  await copy(live, join(root, 'kept/former'));
  await mount();
  await write('late', seed + 300);
  await sdfs(['sync', mountpoint], { env });
  await killAll();
  await copy(live, join(root, 'kept/killed'));
  await mount();
  await verify();
  await umount();
  await copy(live, join(root, 'kept/clean'));
  for (const { ledgers } of state.files.values()) for (const name of fs.readdirSync(ledgers)) console.log(`${readLedger(join(ledgers, name)).done} steps written`);
}

async function killAll() {
  const { processes } = await status();
  for (const { pid } of processes) if (pid !== null) process.kill(pid, 'SIGKILL');
  await run('umount', ['-l', mountpoint]);
  await sleep(300);
}

async function restore(kind) {
  await run('find', [live, '-mindepth', '1', '-delete']);
  await run('cp', ['-a', '--sparse=always', `${join(root, 'kept', kind)}/.`, live]);
}

function filesBelow(directory) {
  const files = fs.readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).map((entry) => relative(live, join(entry.parentPath, entry.name)));
  return files.filter((file) => !file.endsWith('.mdb-lock') && !file.endsWith('sdfs.log') && (values.path === undefined || file.includes(values.path))).sort();
}

/** disk0/blocks/l00000001 → blocks */
const kindOf = (file) => file.split('/').slice(1, file.startsWith('volume') || file.startsWith('journal') ? undefined : 2).join('/').replace(/\d+/g, 'N');

function choose(target, chance) {
  const pick = (list) => list[Math.floor(chance() * list.length)];
  if (target === 'volume') {
    const files = [...filesBelow(volume), ...filesBelow(join(live, 'journal'))];
    return files.filter((_, index) => chance() < 0.3 || index === Math.floor(chance() * files.length));
  }
  const files = filesBelow(join(live, pick(diskNames)));
  if (files.length === 0) return [];
  switch (target) {
    case 'one': {
      const kind = pick([...new Set(files.map(kindOf))]);
      return [pick(files.filter((file) => kindOf(file) === kind))];
    }
    case 'few': return Array.from({ length: 2 + Math.floor(chance() * 4) }, () => pick(files));
    case 'kind': {
      const kind = pick(files.map(kindOf));
      return files.filter((file) => kindOf(file) === kind);
    }
    default: return files;
  }
}

function damage(target, kind, chance) {
  const done = [];
  for (const file of new Set(choose(target, chance))) {
    const what = damageFile(join(live, file), { chance, foreign: join(root, 'kept/foreign', file), former: join(root, 'kept/former', file) });
    if (what !== undefined) done.push(`${what}: ${file}`);
    if (what !== undefined) state.counts[`${kindOf(file)}`] = (state.counts[kindOf(file)] ?? 0) + 1;
  }
  return done;
}

async function untilHealthy() {
  const end = Date.now() + HEALTHY_MS;
  for (;;) {
    const report = await status();
    if (report.health === 'good') return;
    if (Date.now() > end) throw new Error(`not whole after ${HEALTHY_MS / 1000} s: ${report.problems.join('; ')}`);
    await sleep(200);
  }
}

async function scrub() {
  const before = JSON.parse(await sdfs(['scrub', '--wait', '--json', mountpoint], { env, timeoutMs: 100_000 }));
  return before.last;
}

async function countCrashes(done) {
  const { processes } = await status();
  for (const { role, worker, restarts } of processes) {
    if (restarts === 0) continue;
    const name = `${role}: ${[...new Set(done.map((text) => kindOf(text.slice(text.indexOf(': ') + 2))))].join(', ')}`;
    state.crashes[name] = (state.crashes[name] ?? 0) + restarts;
    if (restarts > RESTARTS_MAX) throw new Error(`${role} ${worker ?? ''} was started again ${restarts} times`);
  }
}

async function round(number) {
  const chance = random(seed + Math.imul(number, 0x9e3779b1));
  const kind = states[Math.floor(chance() * states.length)];
  const target = targets[Math.floor(chance() * targets.length)];
  await restore(kind);
  const done = damage(target, kind, chance);
  if (done.length === 0) return 'nothing damaged';
  const described = `${kind}, ${done.length > 6 ? `${done.slice(0, 6).join(', ')} and ${done.length - 6} more` : done.join(', ')}`;
  const finding = (what) => findings.push(`round ${number} (${described}): ${what}`);
  try {
    try {
      await mount();
    } catch (error) {
      const message = error.message.split('\n').slice(1).join(' | ');
      const ofIdentity = done.some((text) => IDENTITY.test(text));
      if (!ofIdentity || /\n\s+at /.test(message)) finding(`the mount is refused: ${message}`);
      state.refused++;
      return `${described}: refused: ${message}`;
    }
    await verify();
    if (done.some((text) => text.endsWith('/sdfs-disk.json'))) {
      const { problems } = await status();
      if (!problems.some((text) => text.includes('sdfs-disk.json'))) finding(`nobody says that an identity file is damaged: ${problems.join('; ')}`);
      state.degraded++;
      await umount();
      return `${described}: mounted without that disk`;
    }
    await untilHealthy();
    await scrub();
    await untilHealthy();
    const last = await scrub();
    if (last.damagedCopies + last.missingCopies + last.unreadableBlocks > 0) finding(`a second scrub finds ${JSON.stringify(last)}`);
    fs.writeFileSync(join(mountpoint, 'after'), 'written after the damage');
    await sdfs(['sync', mountpoint], { env });
    await verify();
    await countCrashes(done);
    await umount();
    if (number % 3 === 0) {
      await mount();
      await verify();
      if (fs.readFileSync(join(mountpoint, 'after'), 'utf8') !== 'written after the damage') finding('what was written after the damage is not there');
      await umount();
    }
  } catch (error) {
    finding(error.message);
    fs.cpSync(join(volume, 'log/sdfs.log'), join(tmpdir(), `sdfs-fuzz-${seed}-${number}.log`), { force: true });
  } finally {
    if (fs.readFileSync('/proc/self/mounts', 'utf8').includes(` ${mountpoint} `)) await sdfs(['umount', '--force', mountpoint], { env, timeoutMs: 60_000 }).catch((error) => finding(`forced unmount: ${error.message}`));
  }
  return described;
}

let interrupted = false;
process.on('SIGINT', () => { interrupted = true; });
let tried = 0;
try {
  console.log(`seed ${seed}`);
  await prepare();
  for (let number = Number(values.first); tried < Number(values.rounds) && !interrupted; number++, tried++) {
    const before = findings.length;
    const start = performance.now();
    const what = await round(number);
    console.log(`round ${number}, ${Math.round(performance.now() - start)} ms: ${findings.length > before ? `FINDING ${findings.slice(before).join('; ')}` : what}`);
    if (values.keep && findings.length > 0) break;
  }
} catch (error) {
  findings.push(error.message);
  console.error(error);
} finally {
  await teardown.run();
}
console.log(`damaged: ${Object.entries(state.counts).map(([kind, count]) => `${count} ${kind}`).join(', ')}`);
console.log(`processes started again: ${Object.entries(state.crashes).map(([name, count]) => `${count} ${name}`).join('; ') || 'none'}`);
console.log(`${tried} rounds, ${state.refused} mounts refused, ${state.degraded} without the disk, ${findings.length} findings`);
for (const finding of findings) console.log(`- ${finding}`);
process.exit(findings.length > 0 ? 1 : 0);
