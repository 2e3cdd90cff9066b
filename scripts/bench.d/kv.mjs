// The benchmark of the key-value store: see scripts/kv-bench. The servers take turns in every round, and medians count.
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { SERVERS, anonymousMiB, fillKeys, startServer } from './kv-servers.mjs';
import { describeMachine, median } from './report.mjs';

const { values } = parseArgs({
  options: {
    requests: { type: 'string', default: '200000' }, rounds: { type: 'string', default: '3' }, clients: { type: 'string', default: '50' }, range: { type: 'string', default: '100000' },
    sizes: { type: 'string', default: '100,4096' }, pipelines: { type: 'string', default: '1,16' }, growth: { type: 'string', default: '10000,100000,1000000,10000000' },
    servers: { type: 'string', default: Object.keys(SERVERS).join(',') }, only: { type: 'string', default: 'redis,lmdb,growth' }, 'lmdb-count': { type: 'string', default: '100000' },
    directory: { type: 'string', default: tmpdir() }, port: { type: 'string', default: '16390' }, json: { type: 'string' }, built: { type: 'boolean' }, help: { type: 'boolean', short: 'h' },
  },
});
if (values.help) {
  console.log(`scripts/kv-bench [--requests 200000] [--rounds 3] [--clients 50] [--range 100000] [--sizes 100,4096] [--pipelines 1,16]
                 [--growth 10000,100000,1000000,10000000] [--servers '${Object.keys(SERVERS).join(',')}'] [--only redis,lmdb,growth]
                 [--lmdb-count 100000] [--directory DIR] [--port 16390] [--json FILE]

  --requests   of each measurement at pipeline 16; a quarter of it at pipeline 1
  --range      keys are chosen at random among so many
  --growth     numbers of keys at which sdfs with one copy is measured
  --directory  where the servers keep their data: all on the same disk`);
  process.exit(0);
}
const numbers = (text) => text.split(',').filter((word) => word !== '').map(Number);
const root = fs.mkdtempSync(join(resolve(values.directory), 'sdfs-kv-bench-'));
const results = { machine: describeMachine(root), redis: [], growth: [], lmdb: undefined };
const rounds = Number(values.rounds);
let port = Number(values.port);

/** Requests a second of one test. */
async function benchmark({ port: to, test, pipeline, bytes, range }) {
  const requests = Math.ceil(Number(values.requests) / (pipeline === 1 ? 4 : 1));
  const { stdout } = await promisify(execFile)('redis-benchmark', ['-p', String(to), '-c', values.clients, '-n', String(requests), '-P', String(pipeline), '-d', String(bytes), '-r', String(range), '-t', test, '--csv', '-q'], { maxBuffer: 2 ** 24 });
  const line = stdout.split('\n').find((one) => one.toUpperCase().startsWith(`"${test.toUpperCase()}"`));
  if (line === undefined) throw new Error(`redis-benchmark said: ${stdout}`);
  return Number(line.split(',')[1].replaceAll('"', ''));
}

const rate = (value) => (value === undefined ? '' : Math.round(value).toLocaleString('en-US'));
const share = (of, base) => (of === undefined || !base ? '' : (of / base).toFixed(2));
const row = (cells) => console.log(`| ${cells.join(' | ')} |`);

async function againstRedis() {
  const names = values.servers.split(',');
  const tests = numbers(values.sizes).flatMap((bytes) => numbers(values.pipelines).flatMap((pipeline) => ['set', 'get'].map((test) => ({ bytes, pipeline, test, samples: new Map(names.map((name) => [name, []])) }))));
  const memory = new Map();
  for (let round = 1; round <= rounds; round++) {
    for (const name of names) {
      for (const bytes of numbers(values.sizes)) {
        const server = await startServer(name, join(root, `${name.replaceAll(' ', '-')}-${round}-${bytes}`), port++);
        try {
          await fillKeys(server.port, { first: 0, end: Number(values.range), valueBytes: bytes });
          for (const one of tests) if (one.bytes === bytes) one.samples.get(name).push(await benchmark({ ...one, port: server.port, range: values.range }));
          memory.set(name, anonymousMiB(server.pid));
        } finally {
          await server.stop();
        }
      }
      console.error(`round ${round}: ${name} done`);
    }
  }
  console.log(`\nredis-benchmark, ${values.clients} clients, ${rate(values.range)} keys; requests a second, median of ${rounds}:\n`);
  row(['command', 'value', 'pipeline', ...names, ...names.slice(1).map((name) => `${name} / ${names[0]}`), ...(names.includes('sdfs x2') && names.includes('sdfs x1') ? ['x2 / x1'] : [])]);
  row(Array.from({ length: 3 + names.length * 2 - 1 + (names.includes('sdfs x2') && names.includes('sdfs x1') ? 1 : 0) }, () => '---'));
  for (const { bytes, pipeline, test, samples } of tests) {
    const medians = Object.fromEntries(names.map((name) => [name, median(samples.get(name))]));
    results.redis.push({ test, bytes, pipeline, medians, samples: Object.fromEntries(samples) });
    row([test.toUpperCase(), `${bytes} B`, pipeline, ...names.map((name) => rate(medians[name])), ...names.slice(1).map((name) => share(medians[name], medians[names[0]])), ...(names.includes('sdfs x2') && names.includes('sdfs x1') ? [share(medians['sdfs x2'], medians['sdfs x1'])] : [])]);
  }
  console.log(`\nanonymous memory of the server behind the last run: ${[...memory].map(([name, mib]) => `${name} ${mib} MiB`).join(', ')}`);
}

async function growth() {
  const server = await startServer('sdfs x1', join(root, 'growth'), port++);
  console.log(`\nGrowth, one copy, values of 100 bytes, ${values.clients} clients, keys at random among all; median of ${rounds}:\n`);
  const kinds = numbers(values.pipelines).flatMap((pipeline) => ['set', 'get'].map((test) => ({ test, pipeline, name: `${test.toUpperCase()} at ${pipeline}` })));
  row(['keys', 'filled at, /s', ...kinds.map(({ name }) => `${name}, /s`), 'coordinator, MiB']);
  row(Array.from({ length: 3 + kinds.length }, () => '---'));
  try {
    let first = 0;
    for (const count of numbers(values.growth)) {
      const began = performance.now();
      await fillKeys(server.port, { first, end: count, valueBytes: 100 });
      const filled = (1000 * (count - first)) / (performance.now() - began);
      first = count;
      const measured = {};
      for (const { test, pipeline, name } of kinds) {
        const samples = [];
        for (let round = 0; round < rounds; round++) samples.push(await benchmark({ port: server.port, test, pipeline, bytes: 100, range: count }));
        measured[name] = median(samples);
      }
      const memory = anonymousMiB(server.pid);
      results.growth.push({ count, filled, ...measured, memory });
      row([rate(count), rate(filled), ...kinds.map(({ name }) => rate(measured[name])), memory]);
    }
  } finally {
    await server.stop();
  }
}

async function againstLmdb() {
  const cli = process.env.SDFS_CLI ?? resolve(import.meta.dirname, '../../dist/cli/main.js');
  const samples = [];
  for (let round = 0; round < rounds; round++) {
    const { stdout } = await promisify(execFile)(process.execPath, [cli, 'kv', 'bench', '--count', values['lmdb-count'], '--directory', root, '--shards', '1', '--copies', '1', '--against-lmdb', '--json'], { maxBuffer: 2 ** 24, env: { ...process.env, SDFS_RUN_DIR: join(root, 'run') } });
    samples.push(JSON.parse(stdout));
  }
  console.log(`\nThe library (sdfs kv bench --against-lmdb), ${rate(values['lmdb-count'])} keys, values of 100 bytes, one copy; keys a second, median of ${rounds}:\n`);
  row(['work', 'sdfs', 'LMDB', 'sdfs / LMDB']);
  row(['---', '---', '---', '---']);
  results.lmdb = samples[0].sdfs.map(({ work }, index) => {
    const [own, other] = ['sdfs', 'lmdb'].map((name) => median(samples.map((sample) => sample[name][index].perSecond)));
    row([work, rate(own), rate(other), share(own, other)]);
    return { work, sdfs: own, lmdb: other };
  });
}

try {
  const { kernel, node, processor, memoryGB, disk } = results.machine;
  console.log(`Linux ${kernel}, node ${node}, ${processor}, ${memoryGB} GB, ${disk}`);
  const parts = { redis: againstRedis, lmdb: againstLmdb, growth };
  for (const name of values.only.split(',')) await parts[name]();
  if (values.json !== undefined) fs.writeFileSync(values.json, `${JSON.stringify(results, null, 2)}\n`);
} finally {
  fs.rmSync(root, { recursive: true, force: true });
}
