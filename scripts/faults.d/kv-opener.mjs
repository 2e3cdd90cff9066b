// The process that has a store open (kv-client.mjs), to be told things, killed, and replaced by another.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import { createInterface } from 'node:readline';
import { join } from 'node:path';

const CLIENT = join(import.meta.dirname, 'kv-client.mjs');
const ANSWER_MS = 180_000;

export const startClient = (options, { env, stdio = ['ignore', 'ignore', 'pipe'] }) => spawn(process.execPath, [CLIENT, JSON.stringify(options)], { env, stdio });

export class Opener {
  #open;
  #env;
  #onFinding;
  #child;
  #exit;
  #waiting = new Map();
  #commands = 0;
  #isMeant = false;
  /** How long the longest opening took. */
  longestOpenMs = 0;

  constructor({ open, env, onFinding }) {
    this.#open = open;
    this.#env = env;
    this.#onFinding = onFinding;
  }

  get pid() {
    return this.#child.pid;
  }

  async start() {
    const began = Date.now();
    this.#isMeant = false;
    const child = startClient({ open: this.#open, number: 0, seed: Date.now() % 100_000, loops: 0, keys: [], locks: [], pairs: [], pauseMs: 0, history: '/dev/null' }, { env: this.#env, stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child = child;
    let said = '';
    child.stderr.on('data', (data) => { said = (said + data).slice(-4000); });
    child.stdin.on('error', () => {});
    this.#exit = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        if (!this.#isMeant) this.#onFinding(`the opener ended with ${code ?? signal}: ${said.trim()}`);
        for (const { reject } of this.#waiting.values()) reject(Object.assign(new Error('the opener is gone'), { code: 'GONE' }));
        this.#waiting.clear();
        resolve({ code, said });
      });
    });
    await new Promise((resolve, reject) => {
      createInterface({ input: child.stdout }).on('line', (line) => {
        const { ready, id, result, error } = JSON.parse(line);
        if (ready !== undefined) resolve();
        const waiting = this.#waiting.get(id);
        this.#waiting.delete(id);
        if (error === undefined) waiting?.resolve(result);
        else waiting?.reject(Object.assign(new Error(error.message), error));
      });
      this.#exit.then(({ code, said: words }) => reject(new Error(`the opener ended with ${code} before the store was open: ${words}`)));
    });
    this.longestOpenMs = Math.max(this.longestOpenMs, Date.now() - began);
  }

  command(command, more = {}) {
    const id = ++this.#commands;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${command}: no answer of the opener in ${ANSWER_MS / 1000} s`)), ANSWER_MS);
      const settle = (done) => (value) => {
        clearTimeout(timer);
        done(value);
      };
      this.#waiting.set(id, { resolve: settle(resolve), reject: settle(reject) });
      this.#child.stdin.write(`${JSON.stringify({ id, command, ...more })}\n`);
    });
  }

  async kill() {
    this.#isMeant = true;
    this.#child.kill('SIGKILL');
    await this.#exit;
  }

  /** As a user ends it. `mayBeUnclean`: a shard is away, so that it may say that the store was not closed cleanly. */
  async close({ mayBeUnclean = false } = {}) {
    this.#isMeant = true;
    this.#child.kill('SIGTERM');
    const { code, said } = await this.#exit;
    if (code !== 0 && !(mayBeUnclean && said.includes('was not closed cleanly'))) this.#onFinding(`the opener closed with ${code}: ${said.trim()}`);
  }
}

/** Pids of the shard processes whose directory is below `directory`. */
export function shardPids(directory) {
  return fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number).filter((pid) => {
    try {
      const line = fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      return line.includes('worker/main.js') && line.includes(directory);
    } catch {
      return false;
    }
  });
}
