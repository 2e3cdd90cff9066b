// Running programs from the fault scripts: with a time limit, the whole output in the error, and nothing left behind.
import { execFile, spawn } from 'node:child_process';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';

const PROJECT = resolve(import.meta.dirname, '../..');
export const CLI = process.env.SDFS_CLI ?? join(PROJECT, 'dist/cli/main.js');
const HERE = import.meta.dirname;

/** Standard output; rejects with all that was written when the exit code is not 0. */
export async function run(program, args, { timeoutMs = 120_000, ...options } = {}) {
  try {
    const { stdout } = await promisify(execFile)(program, args, { timeout: timeoutMs, killSignal: 'SIGKILL', maxBuffer: 2 ** 26, ...options });
    return stdout;
  } catch (error) {
    throw new Error(`${program} ${args.join(' ')}: ${error.killed ? `no end after ${timeoutMs} ms` : `exit code ${error.code ?? error.signal}`}\n${error.stdout ?? ''}${error.stderr ?? ''}`.trim());
  }
}

export const sdfs = (args, options) => run(process.execPath, [CLI, ...args], options);

/** A writer of writer.mjs. */
export const startWriter = (directory, number, seed, ledger, allow = []) => startProgram(`writer ${number}`, 'writer.mjs', [directory, String(number), String(seed), ledger, '--allow', allow.join(',')]);

export const startSqlite = (database, ledger, allow = []) => startProgram('the SQLite writer', 'sqlite-writer.mjs', [database, ledger, '--allow', allow.join(',')]);

/** `exit` resolves with what it said when it ended by itself, which is a finding. */
function startProgram(name, script, args) {
  const child = spawn(process.execPath, [join(HERE, script), ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (data) => { said += data; });
  const exit = new Promise((resolveExit) => { child.once('exit', (code, signal) => resolveExit({ code, signal, said: said.trim() })); });
  return {
    pid: child.pid,
    exit,
    /** Resolves with undefined after a good end, else with what is wrong. */
    async stop() {
      child.kill('SIGTERM');
      const { code, signal, said: text } = await exit;
      return code === 0 ? undefined : `${name} ended with ${code ?? signal}: ${text}`;
    },
  };
}

export const sleep = (ms) => new Promise((done) => { setTimeout(done, ms); });

/** To those that still live: others were replaced meanwhile. */
export function signal(pids, name) {
  for (const pid of pids) {
    try {
      process.kill(pid, name);
    } catch (error) {
      if (error.code !== 'ESRCH') throw error;
    }
  }
}

export async function paused(pids, ms) {
  signal(pids, 'SIGSTOP');
  await sleep(ms);
  signal(pids, 'SIGCONT');
}

/** Runs the steps in reverse order, all of them, and says which failed. */
export class Teardown {
  #steps = [];

  add(what, step) {
    this.#steps.push([what, step]);
  }

  async run() {
    for (const [what, step] of this.#steps.reverse()) await Promise.resolve().then(step).catch((error) => console.error(`teardown: ${what}: ${error.message}`));
    this.#steps = [];
  }
}
