// Is a writer's directory as its history says? Exactly one state between what was promised and what was begun will do.
//
//   node verify.mjs DIRECTORY LEDGERS process|power SEED...     one seed a writer; ledgers are LEDGERS/0, 1, ...
//
// process: all that returned is there. power: all that was there when the last fsync returned is.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { readLedger } from './ledger.mjs';
import { History, SHARED_RECORD_BYTES, sharedRecord } from './model.mjs';

const PAGE_BYTES = 4096;
/** Names that one file is likely to have: more differences than these are not of one write. */
const LINKS_MAX = 8;

/** path → { type, inode number, bytes or target }. */
export function readTree(root) {
  const found = new Map();
  const visit = (directory) => {
    for (const name of fs.readdirSync(join(root, directory))) {
      const path = directory === '' ? name : `${directory}/${name}`;
      const stat = fs.lstatSync(join(root, path));
      if (stat.isDirectory()) {
        found.set(path, { type: 'directory', number: stat.ino });
        visit(path);
      } else if (stat.isSymbolicLink()) found.set(path, { type: 'link', number: stat.ino, target: fs.readlinkSync(join(root, path)) });
      else found.set(path, { type: 'file', number: stat.ino, links: stat.nlink, bytes: fs.readFileSync(join(root, path)) });
    }
  };
  visit('');
  return found;
}

/** The first difference in words, or undefined. */
export function compare(history, found) {
  return differences(history, found).next().value;
}

function* differences(history, found) {
  const inodes = new Map();
  const names = new Map();
  for (const { inode } of history.tree.values()) names.set(inode, (names.get(inode) ?? 0) + 1);
  for (const [path, node] of history.tree) {
    const actual = found.get(path);
    if (actual === undefined) {
      yield `${path} is missing`;
      continue;
    }
    if (actual.type !== node.type) yield `${path} is a ${actual.type}, and should be a ${node.type}`;
    if (node.type === 'link' && actual.target !== node.inode.target) yield `${path} leads to ${actual.target}, and should to ${node.inode.target}`;
    if (node.type !== 'file' || actual.type !== 'file') continue;
    if (actual.bytes.length !== node.inode.bytes.length) yield `${path} has ${actual.bytes.length} bytes, and should have ${node.inode.bytes.length}`;
    else if (!actual.bytes.equals(node.inode.bytes)) yield `${path} has other bytes from ${firstDifference(actual.bytes, node.inode.bytes)} on`;
    if (actual.links !== names.get(node.inode)) yield `${path} has ${actual.links} links, and should have ${names.get(node.inode)}`;
    const number = inodes.get(node.inode) ?? actual.number;
    if (number !== actual.number) yield `${path} is another file than its other names`;
    inodes.set(node.inode, number);
  }
  for (const path of found.keys()) if (!history.tree.has(path)) yield `${path} should not be there`;
}

function firstDifference(one, other) {
  for (let at = 0; at < one.length; at++) if (one[at] !== other[at]) return at;
  return one.length;
}

/** Steps that the directory shows, or an Error that says what is wrong. */
export function verifyWriter(root, { seed, ledger, mode }) {
  const required = mode === 'power' ? ledger.synced : ledger.done;
  const history = new History(seed);
  const step = () => (ledger.skipped.has(history.count + 1) ? skip(history) : history.take(history.next()));
  while (history.count < required) step();
  if (!fs.existsSync(root)) return required === 0 ? { steps: 0, history } : new Error(`${root} is missing`);
  const found = readTree(root);
  let nearest;
  for (;;) {
    const list = [...differences(history, found)];
    if (list.length === 0) return { steps: history.count, history };
    if (nearest === undefined || list.length < nearest.list.length) nearest = { step: history.count, list };
    const next = history.count < ledger.begun ? history.next() : undefined;
    if (next !== undefined && list.length <= LINKS_MAX && partFits(next, history, found)) return { steps: history.count, history };
    if (next === undefined) {
      return new Error(`no state from step ${required} (promised) to ${ledger.begun} (begun) is what is there; the nearest, ${nearest.step}, has ${nearest.list.length} differences: ${nearest.list.slice(0, 3).join('; ')}`);
    }
    step();
  }
}

/**
 * The kernel makes several requests of one write(2) where it likes, and each of them is there whole or not at all: the
 * state in the middle of a call counts, cut at a page of the file.
 */
function partFits(step, history, found) {
  if (step.kind !== 'append' && step.kind !== 'write') return false;
  const { inode } = history.tree.get(step.path);
  const before = inode.bytes;
  const offset = step.offset ?? before.length;
  try {
    for (let end = Math.ceil((offset + 1) / PAGE_BYTES) * PAGE_BYTES; end < offset + step.data.length; end += PAGE_BYTES) {
      const after = Buffer.alloc(Math.max(before.length, end));
      before.copy(after);
      step.data.copy(after, offset, 0, end - offset);
      inode.bytes = after;
      if (compare(history, found) === undefined) return true;
    }
    return false;
  } finally {
    inode.bytes = before;
  }
}

function skip(history) {
  history.next();
  history.skip();
}

/** Problems with the file that all append to. `least` and `most`: records of each writer. */
export function verifyShared(file, least, most) {
  const bytes = fs.existsSync(file) ? fs.readFileSync(file) : Buffer.alloc(0);
  if (bytes.length % SHARED_RECORD_BYTES !== 0) return [`shared: ${bytes.length} bytes are no whole number of records`];
  const counts = least.map(() => 0);
  for (let at = 0; at < bytes.length; at += SHARED_RECORD_BYTES) {
    const record = bytes.subarray(at, at + SHARED_RECORD_BYTES);
    const writer = Number(record.toString('latin1', 0, record.indexOf(0x20)));
    if (counts[writer] === undefined) return [`shared: torn record at ${at}`];
    counts[writer]++;
    if (!record.equals(sharedRecord(writer, counts[writer]))) return [`shared: at ${at} wanted record ${counts[writer]} of writer ${writer}, found ${JSON.stringify(record.toString('latin1'))}`];
  }
  return counts.flatMap((count, writer) => (count < least[writer] || count > most[writer] ? [`shared: ${count} records of writer ${writer}, wanted ${least[writer]} to ${most[writer]}`] : []));
}

/** Problems with the database of sqlite-writer.mjs: all acknowledged transactions, and at most the one on its way. */
export function verifySqlite(database, ledger, mode) {
  const promised = mode === 'power' ? ledger.synced : ledger.done;
  if (!fs.existsSync(database)) return promised > 0 ? [`${database} is missing`] : [];
  const { stdout, stderr } = spawnSync('sqlite3', ['-batch', database, "pragma integrity_check; select count(*) || ' ' || (select n from total) || ' ' || max(number) from entry;"], { encoding: 'utf8', timeout: 60_000 });
  const [check, numbers] = stdout.split('\n');
  // The tables themselves may not have been acknowledged.
  if (promised === 0 && /no such table/.test(stderr)) return [];
  if (check !== 'ok') return [`SQLite: ${stdout}${stderr}`];
  const [count, total, last] = (numbers ?? '').split(' ').map(Number);
  const fine = promised === 0 || (count === total && count === last && count >= promised && count <= ledger.begun);
  return fine ? [] : [`SQLite: ${promised} transactions promised, ${ledger.begun} begun; entries, total and last number are ${numbers} ${stderr}`];
}

/** All problems found under `directory`, where writers 0 … worked from `seeds`. */
export function verifyAll(directory, { ledgers, seeds, mode }) {
  const problems = [];
  const least = [];
  const most = [];
  seeds.forEach((seed, writer) => {
    const ledger = readLedger(join(ledgers, String(writer)));
    const result = verifyWriter(join(directory, `w${writer}`), { seed, ledger, mode });
    if (result instanceof Error) problems.push(`writer ${writer}, seed ${seed}: ${result.message}`);
    // What is behind the state that the directory shows may be there in the shared file, and nothing less.
    least.push(result instanceof Error ? 0 : result.history.sharedRecords);
    const all = new History(seed);
    while (all.count < ledger.begun) ledger.skipped.has(all.count + 1) ? skip(all) : all.take(all.next());
    most.push(all.sharedRecords);
  });
  return [...problems, ...verifyShared(join(directory, 'shared'), least, most)];
}

if (import.meta.filename === process.argv[1]) {
  const [directory, ledgers, mode, ...seeds] = process.argv.slice(2);
  const problems = [
    ...verifyAll(directory, { ledgers, seeds: seeds.map(Number), mode }),
    ...(fs.existsSync(join(ledgers, 'sqlite')) ? verifySqlite(join(directory, 'transactions.db'), readLedger(join(ledgers, 'sqlite')), mode) : []),
  ];
  for (const problem of problems) console.error(problem);
  process.exit(problems.length > 0 ? 1 : 0);
}
