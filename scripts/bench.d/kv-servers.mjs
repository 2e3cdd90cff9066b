// Servers of the Redis protocol to be measured: redis-server, and sdfs with one copy and with two, each on its own directory.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import { connect } from 'node:net';
import { join, resolve } from 'node:path';

const CLI = process.env.SDFS_CLI ?? resolve(import.meta.dirname, '../../dist/cli/main.js');
const START_MS = 30_000;
const END_MS = 60_000;
const sleep = (ms) => new Promise((done) => { setTimeout(done, ms); });

export const SERVERS = {
  redis: (directory, port) => ['redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--dir', directory, '--save', '', '--appendonly', 'yes', '--appendfsync', 'everysec']],
  'sdfs x1': (directory, port) => sdfsServer(directory, port, 1),
  'sdfs x2': (directory, port) => sdfsServer(directory, port, 2),
};

/** As many shards as copies: a shard is the process of a disk, and here is one disk. */
function sdfsServer(directory, port, copies) {
  return [process.execPath, [CLI, 'kv', 'serve', '--store', join(directory, 'store'), '--port', String(port)], [CLI, 'kv', 'init', '--shards', String(copies), '--copies', String(copies), join(directory, 'store')]];
}

/** { port, pid, stop }: a server that answers. */
export async function startServer(name, directory, port) {
  fs.mkdirSync(directory, { recursive: true });
  const [program, args, before] = SERVERS[name](directory, port);
  const env = { ...process.env, SDFS_RUN_DIR: join(directory, 'run') };
  if (before !== undefined) await finished(spawn(process.execPath, before, { env, stdio: ['ignore', 'ignore', 'inherit'] }), `${name}: init`);
  const child = spawn(program, args, { env, stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (data) => { said = (said + data).slice(-2000); });
  const exit = new Promise((done) => { child.once('exit', done); });
  for (const deadline = Date.now() + START_MS; !(await answers(port)); await sleep(50)) {
    if (child.exitCode !== null || Date.now() > deadline) throw new Error(`${name} does not answer on port ${port}: ${said}`);
  }
  return {
    port, pid: child.pid,
    async stop() {
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), END_MS);
      await exit;
      clearTimeout(timer);
      fs.rmSync(directory, { recursive: true, force: true });
    },
  };
}

async function finished(child, what) {
  const code = await new Promise((done, failed) => {
    child.once('error', failed);
    child.once('exit', done);
  });
  if (code !== 0) throw new Error(`${what} ended with ${code}`);
}

async function answers(port) {
  const socket = connect({ port, host: '127.0.0.1' });
  try {
    return await new Promise((done) => {
      socket.once('error', () => done(false));
      socket.once('data', (data) => done(data.toString().startsWith('+PONG')));
      socket.once('close', () => done(false));
      socket.write('*1\r\n$4\r\nPING\r\n');
    });
  } finally {
    socket.destroy();
  }
}

/** Sets key:000000000000 and so on, as redis-benchmark names its keys, from `first` up to, not including, `end`. */
export async function fillKeys(port, { first, end, valueBytes }) {
  const socket = connect({ port, host: '127.0.0.1' });
  const value = Buffer.alloc(valueBytes, 'x');
  let answered = first;
  let wake = () => {};
  socket.on('data', (data) => {
    // Every answer is "+OK\r\n".
    for (let at = data.indexOf(10); at >= 0; at = data.indexOf(10, at + 1)) answered++;
    if (data.includes('-')) socket.destroy(new Error(data.toString().split('\r\n').find((line) => line.startsWith('-'))));
    wake();
  });
  const failed = new Promise((_, reject) => { socket.once('error', reject); });
  for (let next = first; next < end;) {
    const upTo = Math.min(end, next + 1000);
    let commands = '';
    for (; next < upTo; next++) commands += `*3\r\n$3\r\nSET\r\n$16\r\nkey:${String(next).padStart(12, '0')}\r\n$${value.length}\r\n${value}\r\n`;
    socket.write(commands);
    while (next - answered > 4000) await Promise.race([new Promise((done) => { wake = done; }), failed]);
  }
  while (answered < end) await Promise.race([new Promise((done) => { wake = done; }), failed]);
  socket.destroy();
}

/** MiB of memory that is the process's own. */
export function anonymousMiB(pid) {
  return Math.round(Number(/RssAnon:\s+(\d+)/.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024);
}
