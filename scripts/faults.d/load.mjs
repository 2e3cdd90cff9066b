// Verified load: writers with histories (writer.mjs) and one that makes SQLite transactions, all of them checked.
import fs from 'node:fs';
import { join } from 'node:path';
import { startSqlite, startWriter } from './processes.mjs';
import { Ledger, readLedger } from './ledger.mjs';
import { verifyAll, verifySqlite } from './verify.mjs';

const WATCH_MS = 50;

export class Load {
  #options;
  #generation = 0;
  #writers = [];
  #sqlite;
  #watch;
  #finished = { steps: 0, skipped: 0, transactions: 0 };
  longestPauseMs = 0;

  constructor(options) {
    this.#options = options;
  }

  get seeds() {
    return Array.from({ length: this.#options.writers }, (_, writer) => this.#options.seed + this.#generation * 1000 + writer);
  }

  get name() {
    return `load${this.#generation}`;
  }

  /** In the mount. */
  get directory() {
    return join(this.#options.mountpoint, this.name);
  }

  /** Outside of the mount. */
  get ledgers() {
    return join(this.#options.ledgers, String(this.#generation));
  }

  get pids() {
    return [...this.#writers, this.#sqlite].map(({ pid }) => pid);
  }

  start() {
    this.#generation++;
    fs.mkdirSync(this.ledgers, { recursive: true });
    fs.mkdirSync(this.directory);
    // There from the first moment on: a fault may come before a program has begun.
    for (const name of [...this.seeds.keys(), 'sqlite']) new Ledger(join(this.ledgers, String(name)));
    const { allow, onFinding } = this.#options;
    this.#writers = this.seeds.map((seed, writer) => startWriter(this.directory, writer, seed, join(this.ledgers, String(writer)), allow));
    this.#sqlite = startSqlite(join(this.directory, 'transactions.db'), join(this.ledgers, 'sqlite'), allow);
    for (const program of [...this.#writers, this.#sqlite]) void program.exit.then(({ code, said }) => { if (code !== 0) onFinding(`a program saw an error: ${said}`); });
    this.#watchPauses();
  }

  /** The longest time in which not one writer got an answer. */
  #watchPauses() {
    let last = '';
    let since = performance.now();
    this.#watch = setInterval(() => {
      const now = this.seeds.map((_, writer) => this.#ledger(writer).done).join();
      if (now !== last) since = performance.now();
      last = now;
      this.longestPauseMs = Math.max(this.longestPauseMs, Math.round(performance.now() - since));
    }, WATCH_MS);
  }

  #ledger(writer) {
    try {
      return readLedger(join(this.ledgers, String(writer)));
    } catch {
      return { begun: 0, done: 0, synced: 0, skipped: new Set() };
    }
  }

  async stop() {
    clearInterval(this.#watch);
    const said = await Promise.all([...this.#writers, ...(this.#sqlite === undefined ? [] : [this.#sqlite])].map((program) => program.stop()));
    this.#writers = [];
    this.#sqlite = undefined;
    return said.filter((text) => text !== undefined);
  }

  verify(mode) {
    return [
      ...verifyAll(this.directory, { ledgers: this.ledgers, seeds: this.seeds, mode }),
      ...verifySqlite(join(this.directory, 'transactions.db'), readLedger(join(this.ledgers, 'sqlite')), mode),
    ];
  }

  async stopAndVerify(mode) {
    const said = await this.stop();
    this.seeds.forEach((_, writer) => {
      const { done, skipped } = this.#ledger(writer);
      this.#finished.steps += done;
      this.#finished.skipped += skipped.size;
    });
    this.#finished.transactions += readLedger(join(this.ledgers, 'sqlite')).done;
    return [...said, ...this.verify(mode)];
  }

  /** A new history in a new directory: what a verifier has to go through stays short. */
  async renew() {
    for (const problem of await this.stopAndVerify('process')) this.#options.onFinding(problem);
    fs.rmSync(this.directory, { recursive: true });
    this.start();
  }

  get steps() { return this.#finished.steps; }
  get skipped() { return this.#finished.skipped; }
  get transactions() { return this.#finished.transactions; }
}
