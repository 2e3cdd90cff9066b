// The chaos run of a key-value store: see scripts/kv-chaos. Rounds of faults, each on keys of its own, so that calls whose
// outcome nobody knows are few in each history; at the end of a round all is read and the history checked.
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { checkHistories, readHistories } from './kv-history.mjs';
import { Opener, shardPids, startClient } from './kv-opener.mjs';
import { LoopDisk } from './loop-disk.mjs';
import { random } from './model.mjs';
import { Teardown, paused, signal, sleep } from './processes.mjs';

const { values } = parseArgs({
  options: {
    faults: { type: 'string', default: '100' }, seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    shards: { type: 'string', default: '4' }, copies: { type: 'string', default: '2' }, clients: { type: 'string', default: '2' }, loops: { type: 'string', default: '3' },
    'faults-per-round': { type: 'string', default: '4' }, only: { type: 'string' }, loop: { type: 'boolean', default: false }, built: { type: 'boolean', default: false }, help: { type: 'boolean', short: 'h', default: false },
  },
});
if (values.help) {
  console.log(`scripts/kv-chaos [--faults 100] [--seed N] [--shards 4] [--copies 2] [--clients 2] [--loops 3] [--faults-per-round 4] [--loop] [--only FAULT,FAULT]

  --clients  processes that connect to the store, with --loops calls at once each; the opener makes as many itself
  --loop     a loop device with ext4 for each shard: wants root, and adds the faults full, full-all, vanish, fail, read-only
             and freeze
  --only     of: kill-shard kill-shards stop-shard kill-opener stop-opener kill-all reopen lose-shard resize
             full full-all vanish fail read-only freeze`);
  process.exit(0);
}
const seed = Number(values.seed);
const chance = random(seed);
const pick = (list) => list[Math.floor(chance() * list.length)];
const between = (low, high) => low + chance() * (high - low);
const WHOLE_WITHIN_MS = 240_000;
const DISK_BYTES = 1024 * 2 ** 20;

const root = fs.mkdtempSync(join(tmpdir(), 'sdfs-kv-chaos-'));
const path = join(root, 'store');
const env = { ...process.env, SDFS_RUN_DIR: join(root, 'run'), SDFS_JOURNAL_DIR: join(root, 'journal') };
const findings = [];
const counts = {};
const totals = { calls: 0, unknown: 0, refused: 0, conflicts: 0, grants: 0, rounds: 0, kept: 0 };
const skips = [];
const teardown = new Teardown();
teardown.add('directories', () => {
  if (findings.length === 0) fs.rmSync(root, { recursive: true, force: true });
  else console.log(`kept for a look: ${root}`);
});

const disks = [];
let opener;
let use;

async function openAnew() {
  await opener.start();
  await useStore();
}

async function useStore() {
  if (use !== undefined) await opener.command('use', { ...use, history: join(root, `round-${totals.rounds}-opener-${opener.pid}.jsonl`), number: 0 });
}

/** Faults of processes: over when they return. */
const PROCESS_FAULTS = {
  'kill-shard': async () => signal([pick(shardPids(root))].filter(Boolean), 'SIGKILL'),
  'kill-shards': async () => signal(shardPids(root), 'SIGKILL'),
  'stop-shard': async () => paused([pick(shardPids(root))].filter(Boolean), between(100, 14_000)),
  'kill-opener': async () => {
    await opener.kill();
    await openAnew();
  },
  'stop-opener': async () => paused([opener.pid], between(100, 5_000)),
  'kill-all': async () => {
    signal(shardPids(root), 'SIGKILL');
    await opener.kill();
    await openAnew();
  },
  reopen: async () => {
    await opener.close({ mayBeUnclean: openFault !== undefined });
    await openAnew();
  },
};

const where = () => (disks.length > 0 ? disks.map(({ directory }) => directory) : fs.readdirSync(join(path, 'disks')).map((name) => join(path, 'disks', name)));

/** Faults of one shard's disk, or of the set of shards: begun by one step, ended by the other. */
const DISK_FAULTS = {
  'lose-shard': {
    async begin() {
      const directory = pick(where());
      fs.renameSync(directory, `${directory}.away`);
      signal(shardPids(directory), 'SIGKILL');
      return directory;
    },
    end: async (directory) => {
      fs.rmSync(directory, { recursive: true, force: true });
      fs.renameSync(`${directory}.away`, directory);
    },
  },
  resize: {
    begin: () => opener.command('add'),
    async end(shard) {
      await untilWhole('a shard that was added');
      await opener.command('drain', { shard });
      for (let waitedMs = 0; ; waitedMs += 500) {
        const error = await opener.command('remove', { shard }).then(() => undefined, (refusal) => refusal);
        if (error === undefined) return;
        if (error.code !== 'BUSY' || waitedMs > WHOLE_WITHIN_MS) throw error;
        await sleep(500);
      }
    },
  },
};
const workerPids = async () => shardPids(root);
const LOOP_FAULTS = Object.fromEntries(Object.entries({
  vanish: { begin: (disk) => disk.vanish(signal, workerPids), end: (disk) => disk.comeBack() },
  fail: { begin: (disk) => disk.fail(), end: (disk) => disk.comeBack() },
  'read-only': { begin: (disk) => disk.readOnly(), end: (disk) => disk.comeBack() },
  freeze: { begin: (disk) => disk.freeze(), end: (disk) => disk.thaw() },
  full: { begin: (disk) => disk.fill(), end: (disk) => disk.unfill() },
}).map(([name, { begin, end }]) => [name, { begin: async () => { const disk = pick(disks); await begin(disk); return disk; }, end }]));
// Then writes are refused, and what was refused must not have happened.
LOOP_FAULTS['full-all'] = {
  begin: async () => { for (const disk of disks) await disk.fill(); },
  end: () => disks.forEach((disk) => disk.unfill()),
};

async function untilWhole(what) {
  const deadline = Date.now() + WHOLE_WITHIN_MS;
  let last;
  do {
    last = await opener.command('stats').catch((error) => ({ shards: [], degradedBlocks: NaN, problem: error.message }));
    if (last.degradedBlocks === 0 && last.shards.length > 0 && last.shards.every(({ state }) => state === 'ready' || state === 'draining')) return;
    await sleep(300);
  } while (Date.now() < deadline);
  throw new Error(`after ${what} the store is not whole again in ${WHOLE_WITHIN_MS / 1000} s: ${JSON.stringify(last)}`);
}

let openFault;

async function endDiskFault() {
  if (openFault === undefined) return;
  const { kind, what, fault } = openFault;
  openFault = undefined;
  await fault.end(what);
  console.log(`  ${kind} ends`);
  await untilWhole(kind);
}

/** A process that waits for a frozen disk cannot die, and holds the disk: nobody else can open the store until then. */
const WANT_A_NEW_OPENER = ['kill-opener', 'kill-all', 'reopen'];

async function fault(kinds) {
  const kind = pick(kinds.filter((name) => openFault === undefined || (PROCESS_FAULTS[name] !== undefined && !(openFault.kind === 'freeze' && WANT_A_NEW_OPENER.includes(name)))));
  if (kind === undefined) return;
  counts[kind] = (counts[kind] ?? 0) + 1;
  console.log(`  ${kind}`);
  if (PROCESS_FAULTS[kind] !== undefined) {
    await PROCESS_FAULTS[kind]();
    return;
  }
  await untilWhole('processes that were killed');
  const one = DISK_FAULTS[kind] ?? LOOP_FAULTS[kind];
  openFault = { kind, fault: one, what: await one.begin(), until: Date.now() + between(1_000, 20_000) };
}

/** By key: what was last read, in rounds that are over. */
const kept = new Map();

async function read(keys) {
  const found = await opener.command('read', { keys });
  return new Map(keys.map((key, index) => [key, found[index]]));
}

async function round(kinds) {
  totals.rounds++;
  const number = totals.rounds;
  const names = (kind, count) => Array.from({ length: count }, (_, index) => `r${number}/${kind}${index}`);
  use = { loops: Number(values.loops), keys: names('k', 5), pairs: names('p', 2), locks: names('l', 2), pauseMs: 4 };
  const clients = [];
  for (let index = 1; index <= clientCount; index++) {
    const history = join(root, `round-${number}-client-${index}.jsonl`);
    const child = startClient({ ...use, connect: { path }, number: index, seed: seed + number * 100 + index, history }, { env });
    const client = { child, said: '' };
    child.stderr.on('data', (data) => { client.said += data; });
    client.exit = new Promise((resolve) => { child.once('exit', (code, name) => resolve(code ?? name)); });
    clients.push(client);
  }
  teardown.add('clients', () => clients.forEach(({ child }) => child.kill('SIGKILL')));
  await useStore();
  for (let count = 0; count < Number(values['faults-per-round']) && findings.length === 0; count++) {
    await sleep(between(200, 1_500));
    if (openFault !== undefined && Date.now() > openFault.until) await endDiskFault();
    await fault(kinds);
  }
  await sleep(300);
  await endDiskFault();
  for (const { child } of clients) child.kill('SIGTERM');
  for (const client of clients) {
    const code = await client.exit;
    if (code !== 0) findings.push(`a client ended with ${code}: ${client.said.trim()}`);
  }
  await opener.command('rest');
  const { keys, pairs } = use;
  use = undefined;
  const last = await read(keys);
  for (const pair of pairs) {
    const halves = await read([`${pair}/a`, `${pair}/b`]);
    const [a, b] = [...halves.values()];
    if (a?.value !== b?.value) findings.push(`of the batch on ${pair} one half is ${JSON.stringify(a)}, the other ${JSON.stringify(b)}`);
    for (const [key, answer] of halves) kept.set(key, answer);
    last.set(pair, a === null ? null : { value: a.value });
  }
  for (const key of keys) kept.set(key, last.get(key));
  const files = fs.readdirSync(root).filter((name) => name.startsWith(`round-${number}-`)).map((name) => join(root, name));
  const history = readHistories(files);
  for (const name of Object.keys(history.counts)) totals[name] += history.counts[name];
  findings.push(...checkHistories(history, last));
  if (findings.length === 0) for (const name of files) fs.rmSync(name);
  console.log(`round ${number}: ${history.counts.calls} calls, ${history.counts.unknown} of unknown outcome, ${history.counts.refused} refused, ${history.counts.grants} locks`);
}

async function checkKept(when) {
  for (const [key, answer] of await read([...kept.keys()])) {
    if (JSON.stringify(answer) !== JSON.stringify(kept.get(key))) findings.push(`${when}: ${key} was ${JSON.stringify(kept.get(key))}, and is ${JSON.stringify(answer)}`);
  }
  totals.kept = kept.size;
}

let clientCount = Number(values.clients);
let interrupted = false;
process.on('SIGINT', () => { interrupted = true; });
try {
  console.log(`seed ${seed}, in ${root}`);
  const api = await import(new URL('../../dist/store/api.js', import.meta.url));
  if (api.connectStore === undefined && clientCount > 0) {
    skips.push('clients that connect: this build has no connectStore; the opener makes all calls');
    clientCount = 0;
  }
  fs.mkdirSync(join(root, 'journal'));
  for (let index = 0; values.loop && index < Number(values.shards); index++) {
    const disk = new LoopDisk(join(root, `disk${index}.img`), join(root, `disk${index}`));
    teardown.add(`remove disk ${index}`, () => disk.remove());
    await disk.create(DISK_BYTES);
    disks.push(disk);
  }
  const open = { path, copies: Number(values.copies), ...(values.loop ? { disks: disks.map(({ directory }) => directory) } : {}) };
  const first = new Opener({ open: values.loop ? open : { ...open, shards: Number(values.shards) }, env, onFinding: (text) => findings.push(text) });
  await first.start();
  await first.close();
  // Shards come and go later: how many there are is the store's business.
  opener = new Opener({ open: { path }, env, onFinding: (text) => findings.push(text) });
  teardown.add('end the opener', () => opener.kill().catch(() => {}));
  await opener.start();
  let kinds = [...Object.keys(PROCESS_FAULTS), ...Object.keys(PROCESS_FAULTS), ...Object.keys(DISK_FAULTS)];
  if (values.loop) kinds.push(...Object.keys(LOOP_FAULTS));
  else skips.push(`${Object.keys(LOOP_FAULTS).join(', ')}: without --loop`);
  if (disks.length > 0) kinds = kinds.filter((kind) => kind !== 'lose-shard');
  if (Number(values.copies) < 2) kinds = kinds.filter((kind) => PROCESS_FAULTS[kind] !== undefined || kind === 'resize');
  if (values.only !== undefined) kinds = values.only.split(',');
  const rounds = Math.ceil(Number(values.faults) / Number(values['faults-per-round']));
  for (let count = 1; count <= rounds && findings.length === 0 && !interrupted; count++) {
    await round(kinds);
    if (count % 5 === 0) await checkKept(`after round ${count}`);
  }
  await untilWhole('all faults');
  await checkKept('at the end');
  await opener.close();
  await opener.start();
  await checkKept('opened again');
  const memory = Number(/RssAnon:\s+(\d+)/.exec(fs.readFileSync(`/proc/${opener.pid}/status`, 'utf8'))?.[1] ?? 0);
  console.log(`memory of the opener: ${Math.round(memory / 1024)} MiB; longest time to open: ${opener.longestOpenMs} ms`);
  await opener.close();
  const left = shardPids(root);
  if (left.length > 0) findings.push(`processes are left: ${left.join(' ')}`);
} catch (error) {
  findings.push(error.stack);
} finally {
  await teardown.run();
}
console.log(Object.entries(counts).map(([kind, count]) => `${count} ${kind}`).join(', '));
console.log(`${totals.rounds} rounds, ${totals.calls} calls (${totals.unknown} of unknown outcome, ${totals.conflicts} conflicts, ${totals.refused} refused), ${totals.grants} locks, ${totals.kept} keys kept`);
for (const skip of skips) console.log(`skipped: ${skip}`);
console.log(`${findings.length} findings`);
for (const finding of findings) console.log(`- ${finding}`);
process.exit(findings.length > 0 ? 1 : 0);
