// A verified load: changes files below a directory, checks what it reads, and notes outside of the mount what was
// acknowledged, so that `verify` can tell later whether all of it is there.
//
//   load.mjs run DIRECTORY JOURNAL SECONDS SEED    exit code 3 and a line on stderr at the first error
//   load.mjs verify DIRECTORY JOURNAL              exit code 1 and a line for each difference
//
// The journal has two lines for an operation: "? JSON" before it, and "!" when it returned. An operation without its
// "!" may have happened or not.
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, readdirSync, renameSync, unlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';

const FILES_MAX = 150;
const SIZES = [0, 1, 100, 1024, 4096, 5000, 16_384, 40_000, 131_072, 300_000, 1_500_000];

/** The same bytes for the same seed. */
export function content(seed, bytes) {
  const words = new Uint32Array(Math.ceil(bytes / 4));
  let state = (seed * 2_654_435_761 + 1) >>> 0 || 1;
  for (let index = 0; index < words.length; index++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[index] = state;
  }
  return Buffer.from(words.buffer, 0, bytes);
}

const contentOf = (pieces) => Buffer.concat(pieces.map(([seed, bytes]) => content(seed, bytes)));

/** Applies an operation to the model: a Map from name to pieces. */
function apply(model, operation) {
  switch (operation.kind) {
    case 'create': model.set(operation.name, [[operation.seed, operation.bytes]]); break;
    case 'append': model.set(operation.name, [...model.get(operation.name), [operation.seed, operation.bytes]]); break;
    case 'rename': model.set(operation.to, model.get(operation.name)); model.delete(operation.name); break;
    case 'unlink': model.delete(operation.name); break;
  }
}

function perform(directory, operation) {
  const path = join(directory, operation.name);
  switch (operation.kind) {
    case 'create': return writePieces(openSync(path, 'wx'), operation);
    case 'append': return writePieces(openSync(path, 'a'), operation);
    case 'rename': return renameSync(path, join(directory, operation.to));
    case 'unlink': return unlinkSync(path);
  }
}

function writePieces(fd, { seed, bytes, sync }) {
  const data = content(seed, bytes);
  for (let at = 0; at < bytes; ) at += writeSync(fd, data, at, Math.min(65_536, bytes - at));
  if (sync) fsyncSync(fd);
  closeSync(fd);
}

function choose(model, random, count) {
  const names = [...model.keys()];
  const any = () => names[random(names.length)];
  const die = random(100);
  const write = { seed: random(1e9), bytes: SIZES[random(SIZES.length)], sync: random(8) === 0 };
  if (names.length === 0 || (die < 45 && names.length < FILES_MAX)) return { kind: 'create', name: `file-${count}`, ...write };
  if (die < 60) return { kind: 'append', name: any(), ...write, bytes: Math.min(write.bytes, 40_000) };
  if (die < 75) return { kind: 'rename', name: any(), to: `moved-${count}` };
  if (die < 80 && names.length > 1) {
    const [name, to] = [any(), any()];
    return name === to ? { kind: 'unlink', name } : { kind: 'rename', name, to };
  }
  return { kind: 'unlink', name: any() };
}

function difference(directory, name, pieces) {
  const wanted = contentOf(pieces);
  let found;
  try {
    found = readFileSync(join(directory, name));
  } catch (error) {
    return `${name}: ${error.code}, wanted ${wanted.length} bytes`;
  }
  if (found.equals(wanted)) return undefined;
  const at = found.findIndex((byte, index) => byte !== wanted[index]);
  return `${name}: wanted ${wanted.length} bytes, found ${found.length}; first difference at ${at === -1 ? Math.min(found.length, wanted.length) : at}`;
}

function load(directory, journal, seconds, seed) {
  let state = seed || 1;
  const random = (below) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor((state / 4_294_967_296) * below);
  };
  mkdirSync(directory, { recursive: true });
  const note = openSync(journal, 'a');
  const model = new Map();
  const end = performance.now() + seconds * 1000;
  let count = 0;
  let stopped = false;
  process.on('SIGTERM', () => {
    stopped = true;
  });
  const step = () => {
    for (let burst = 0; burst < 20; burst++) {
      const operation = choose(model, random, count++);
      writeSync(note, `? ${JSON.stringify(operation)}\n`);
      perform(directory, operation);
      apply(model, operation);
      writeSync(note, '!\n');
      const names = [...model.keys()];
      const name = names[random(names.length)];
      const wrong = name === undefined ? undefined : difference(directory, name, model.get(name));
      if (wrong !== undefined) throw new Error(wrong);
    }
    if (!stopped && performance.now() < end) setImmediate(step);
    else process.stdout.write(`${count} operations\n`);
  };
  step();
}

function verify(directory, journal) {
  const model = new Map();
  let pending;
  for (const line of readFileSync(journal, 'utf8').split('\n')) {
    if (line.startsWith('? ')) {
      try {
        pending = JSON.parse(line.slice(2));
      } catch {
        break; // the note of an operation that had not begun
      }
    } else if (line === '!') {
      apply(model, pending);
      pending = undefined;
    }
  }
  const open = new Set(pending === undefined ? [] : [pending.name, pending.to]);
  const present = readdirSync(directory);
  const wrong = present.filter((name) => !model.has(name) && !open.has(name)).map((name) => `${name}: nobody made it`);
  for (const [name, pieces] of model) {
    if (open.has(name)) continue;
    const found = difference(directory, name, pieces);
    if (found !== undefined) wrong.push(found);
  }
  if (pending !== undefined) wrong.push(...checkPending(directory, model, pending, present));
  process.stdout.write(`${model.size} files verified\n`);
  for (const line of wrong) process.stderr.write(`${line}\n`);
  process.exitCode = wrong.length === 0 ? 0 : 1;
}

/** What was acknowledged before the operation in flight must be there, under one name or the other. */
function checkPending(directory, model, pending, present) {
  const pieces = model.get(pending.name);
  if (pieces === undefined || pending.kind === 'unlink') return [];
  if (pending.kind === 'append') {
    const wanted = contentOf(pieces);
    const found = readFileSync(join(directory, pending.name));
    return found.subarray(0, wanted.length).equals(wanted) ? [] : [`${pending.name}: the bytes before an append in flight are gone`];
  }
  const old = present.includes(pending.name);
  const wrong = [difference(directory, old ? pending.name : pending.to, pieces)];
  const target = model.get(pending.to);
  if (old && target !== undefined) wrong.push(difference(directory, pending.to, target));
  return wrong.filter((line) => line !== undefined);
}

const [mode, directory, journal, seconds, seed] = process.argv.slice(2);
try {
  if (mode === 'run') {
    process.on('uncaughtException', fail);
    load(directory, journal, Number(seconds), Number(seed));
  } else verify(directory, journal);
} catch (error) {
  fail(error);
}

function fail(error) {
  process.stderr.write(`${error.code ?? ''} ${error.message}\n`);
  process.exit(3);
}
