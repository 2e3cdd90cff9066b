// How far a writer is, kept outside of what is being tested: three counters, and the steps that were refused.
//
//   FILE           u32 begun   u32 done   u32 synced       little-endian
//   FILE.skipped   a line for each step that got an error which the fault allows: its number and the error
import fs from 'node:fs';

export class Ledger {
  #fd;
  #file;
  #words = new Uint32Array(3);

  constructor(file) {
    this.#file = file;
    this.#fd = fs.openSync(file, fs.constants.O_RDWR | fs.constants.O_CREAT);
    fs.writeSync(this.#fd, this.#words, 0, 12, 0);
  }

  begun(step) { this.#set(0, step); }
  done(step) { this.#set(1, step); }
  synced(step) { this.#set(2, step); }

  skipped(step, code) {
    fs.appendFileSync(`${this.#file}.skipped`, `${step} ${code}\n`);
    this.done(step);
  }

  #set(index, step) {
    this.#words[index] = step;
    fs.writeSync(this.#fd, this.#words, 0, 12, 0);
  }
}

/** { begun, done, synced, skipped: Set of steps }. */
export function readLedger(file) {
  const bytes = fs.readFileSync(file);
  const lines = fs.existsSync(`${file}.skipped`) ? fs.readFileSync(`${file}.skipped`, 'utf8').split('\n') : [];
  return {
    begun: bytes.readUInt32LE(0), done: bytes.readUInt32LE(4), synced: bytes.readUInt32LE(8),
    skipped: new Set(lines.filter((line) => line !== '').map((line) => Number(line.split(' ')[0]))),
  };
}
