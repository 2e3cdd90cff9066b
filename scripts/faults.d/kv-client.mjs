// A user of a store: loops of random calls on few keys, each written down before it is made and when it has returned, so
// that its history is whole whenever it is killed. Ends with SIGTERM.
//
//   node kv-client.mjs OPTIONS     OPTIONS is JSON: { open: {…} or connect: {…}, number, seed, loops, keys, locks, pairs, history }
//
// Each line of the history is JSON: a call { id, key, kind, …, called }, what came of it { id, returned, answer } or
// { id, failed: code }, a lock { lock, token, granted, until } or { token, until }, or { finding }. Times are us of the
// machine's monotonic clock. The one that opened the store takes commands on its stdin and answers on its stdout.
import fs from 'node:fs';
import { createInterface } from 'node:readline';
import { random } from './model.mjs';

const api = await import(process.env.SDFS_KV ?? new URL('../../dist/store/api.js', import.meta.url));
const options = JSON.parse(process.argv[2]);
const chance = random(options.seed);
const pick = (list) => list[Math.floor(chance() * list.length)];
const sleep = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
const now = () => Number(process.hrtime.bigint() / 1000n);

const SIZES = [20, 20, 20, 200, 300, 5_000, 17_000, 150_000];
/** What may come of a call while faults go on, and leaves open what it did. */
const OPEN_CODES = new Set(['UNAVAILABLE', 'TIMEOUT', 'CLOSED']);
/** Nothing was done. */
const REFUSED_CODES = new Set(['FULL', 'CHANGED', 'BUSY']);

let file = fs.openSync(options.history, 'a');
const note = (line) => fs.writeSync(file, `${JSON.stringify(line)}\n`);
const finding = (text) => note({ finding: `client ${options.number}: ${text}` });

let going = true;
let store;
let connecting;

async function connect() {
  for (let attempt = 0; ; attempt++) {
    try {
      store = options.open === undefined ? await api.connectStore(options.connect) : await api.openStore(options.open);
      return;
    } catch (error) {
      if (!going || attempt > 600) throw error;
      await sleep(100);
    }
  }
}

/** A value that tells which one it is, and can be checked byte by byte. */
function valueOf(name) {
  const bytes = SIZES[random(hash(name))() * SIZES.length | 0];
  return Buffer.alloc(Math.max(bytes, name.length + 1), `${name} `);
}

function hash(text) {
  let state = 7;
  for (let at = 0; at < text.length; at++) state = Math.imul(state ^ text.charCodeAt(at), 0x85ebca6b);
  return state;
}

function nameOf(value, where) {
  const name = value.subarray(0, Math.max(0, value.indexOf(32))).toString();
  if (!value.equals(valueOf(name))) finding(`${where}: ${value.length} bytes that nobody wrote, ${value.subarray(0, 40).toString('latin1')}`);
  return name;
}

let calls = 0;
const running = [];

async function call(entry, make) {
  const id = `${options.number}.${process.pid}.${++calls}`;
  note({ id, ...entry(id), called: now() });
  try {
    const answer = await make(id);
    note({ id, returned: now(), answer });
  } catch (error) {
    if (error.code === 'CONFLICT') note({ id, returned: now(), answer: { conflict: error.version ?? null } });
    else if (REFUSED_CODES.has(error.code)) note({ id, failed: error.code });
    else if (!OPEN_CODES.has(error.code)) finding(`${error.stack}`);
    else {
      note({ id, unknown: error.code });
      if (error.code === 'CLOSED') await again();
      else await sleep(20);
    }
  }
}

/** Waits until somebody has it open again: a connection is made anew by the next call. */
async function again() {
  connecting ??= (async () => {
    while (going && !(await store.has('nothing').then(() => true, () => false))) await sleep(50);
  })().finally(() => { connecting = undefined; });
  await connecting;
}

/** Versions that this process has seen, by key. */
const seen = new Map();
const learn = (key, version) => { if (version !== undefined) seen.set(key, version); };

const kinds = {
  get: (key) => call(() => ({ key, kind: 'get' }), async () => {
    const entry = await store.getEntry(key);
    learn(key, entry?.version);
    return entry === undefined ? null : { value: nameOf(entry.value, key), version: entry.version };
  }),
  set: (key) => setWith(key, {}),
  versioned: (key) => setWith(key, seen.has(key) ? { ifVersion: seen.get(key) } : { ifAbsent: true }),
  fresh: (key) => setWith(key, { ifAbsent: true }),
  delete: (key) => {
    const condition = seen.has(key) && chance() < 0.5 ? { ifVersion: seen.get(key) } : {};
    return call(() => ({ key, kind: 'delete', ...condition }), async () => ({ found: await store.delete(key, condition) }));
  },
  // Two keys that are always set together are one register: whichever is read.
  pair: (_, pair) => call((id) => ({ key: pair, kind: 'set', value: id }), async (id) => {
    await store.batch([{ type: 'set', key: `${pair}/a`, value: valueOf(id) }, { type: 'set', key: `${pair}/b`, value: valueOf(id) }]);
    return {};
  }),
  half: (_, pair) => call(() => ({ key: pair, kind: 'get' }), async () => {
    const value = await store.get(`${pair}/${pick(['a', 'b'])}`);
    return value === undefined ? null : { value: nameOf(value, pair) };
  }),
};

function setWith(key, condition) {
  const sync = chance() < 0.05 ? { sync: true } : {};
  return call((id) => ({ key, kind: 'set', value: id, ...condition }), async (id) => {
    const version = await store.set(key, valueOf(id), { ...condition, ...sync });
    learn(key, version);
    return { version };
  });
}

async function holdLock(name) {
  const ttlMs = pick([300, 1500, 4000]);
  try {
    const lock = await store.lock(name, { ttlMs, waitMs: 2000 });
    // Both clocks are read to the ms, so 2 ms are not counted on.
    const until = now() + (lock.expires.getTime() - Date.now() - 2) * 1000;
    note({ lock: name, token: lock.token, granted: now(), until });
    await sleep(chance() * 100);
    // From the moment at which it is given back it is nobody's.
    const released = now();
    if (lock.isHeld) note({ token: lock.token, until: Math.min(until, released) });
    await lock.release();
  } catch (error) {
    if (error.code === 'CLOSED') await again();
    else if (!OPEN_CODES.has(error.code) && !REFUSED_CODES.has(error.code)) finding(`lock: ${error.stack}`);
  }
}

/** Loops end when it is another one. */
let turn = 0;

async function loop() {
  const mine = turn;
  const weighted = ['get', 'get', 'get', 'set', 'set', 'versioned', 'versioned', 'fresh', 'delete', 'pair', 'half', 'half'];
  while (going && turn === mine) {
    if (options.locks.length > 0 && chance() < 0.03) await holdLock(pick(options.locks));
    else await kinds[pick(weighted)](pick(options.keys), pick(options.pairs));
    if (options.pauseMs > 0) await sleep(chance() * options.pauseMs);
  }
}

process.once('SIGTERM', () => { going = false; });
process.on('unhandledRejection', (error) => { finding(`not handled: ${error?.stack}`); process.exit(1); });

await connect();
if (options.open !== undefined) {
  const answer = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
  const commands = {
    stats: () => store.stats(), sync: () => store.sync(), add: () => store.addShard(),
    drain: ({ shard }) => store.drainShard(shard), remove: ({ shard, force }) => store.removeShard(shard, { force }),
    read: async ({ keys }) => {
      const found = [];
      for (const key of keys) {
        const entry = await store.getEntry(key);
        found.push(entry === undefined ? null : { value: nameOf(entry.value, key), version: entry.version });
      }
      return found;
    },
    use: ({ loops, ...more }) => {
      Object.assign(options, more);
      file = fs.openSync(options.history, 'a');
      for (let count = 0; count < loops; count++) running.push(loop());
    },
    rest: async () => {
      turn++;
      await Promise.all(running.splice(0));
    },
  };
  createInterface({ input: process.stdin }).on('line', (line) => {
    const { id, command, ...more } = JSON.parse(line);
    Promise.resolve().then(() => commands[command](more)).then((result) => answer({ id, result }), (error) => answer({ id, error: { code: error.code, message: error.message } }));
  });
  answer({ ready: process.pid });
}
for (let count = 0; count < options.loops; count++) running.push(loop());
while (going) await sleep(20);
await Promise.all(running);
await store.close();
process.exit(0);
