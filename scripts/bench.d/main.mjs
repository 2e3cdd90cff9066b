// The benchmark: the same work on sdfs, on a plain directory of the same disk, on the null file system and on any other
// directories, their rounds taking turns, since disks and virtual machines are fast and slow by the minute.
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError } from 'commander';
import { ROWS } from './rows.mjs';
import { describeMachine, printTable, summarize } from './report.mjs';
import { givenTarget, nullTarget, plainTarget, removePlace, sdfsTarget } from './targets.mjs';

const WORK = fileURLToPath(new URL('./work.mjs', import.meta.url));
const ROUND_TIMEOUT_MS = 20 * 60_000;

const count = (text) => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('wants a whole number from 1 on');
  return value;
};
const against = (text, list) => {
  const cut = text.indexOf('=');
  if (cut < 1 || !existsSync(text.slice(cut + 1))) throw new InvalidArgumentError('wants NAME=DIRECTORY, a directory that is there');
  return [...list, { name: text.slice(0, cut), directory: text.slice(cut + 1) }];
};

const options = new Command('scripts/bench')
  .description('Measures sdfs, two copies on four directories, against a plain directory on the same disk, in one run.\nThe figures are medians over the rounds. Root only: it mounts, and it drops the kernel\'s caches.')
  .option('--rounds <n>', 'rounds, taking turns between the targets', count, 3)
  .option('--size <MiB>', 'size of the large file', count, 512)
  .option('--files <n>', 'small files', count, 2000)
  .option('--rows <words>', 'only rows whose name contains one of these, separated by commas')
  .option('--dir <directory>', 'where the plain directory and the volume are made', '/var/tmp')
  .option('--disks <n>', 'disk directories of the volume', count, 4)
  .option('--copies <n>', 'copies of every block', count, 2)
  .option('-o, --mount-options <options>', 'mount options for sdfs')
  .option('--against <name=dir>', 'another directory to measure; may be given again', against, [])
  .option('--no-null', 'leave the null file system out')
  .option('--no-sdfs', 'leave sdfs out')
  .option('--json <file>', 'write the results there, with every round')
  .parse()
  .opts();

const rows = ROWS.filter(({ name }) => options.rows === undefined || options.rows.split(',').some((word) => name.includes(word.trim())));
if (rows.length === 0) fail(`no row has any of "${options.rows}" in its name; there are: ${ROWS.map((row) => row.name).join(', ')}`);
if (process.getuid() !== 0) fail('only root may mount and drop caches: run it with sudo');

const place = mkdtempSync(join(options.dir, 'sdfs-bench-'));
const samples = new Map();
const targets = [];
let child;
let interrupted = false;
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    interrupted = true;
    child?.kill('SIGKILL');
  });
}

try {
  targets.push(plainTarget(place));
  if (options.sdfs) targets.push(await sdfsTarget(place, options));
  if (options.null) targets.push(await nullTarget(place));
  targets.push(...options.against.map(({ name, directory }) => givenTarget(name, directory)));
  const machine = describeMachine(place);
  for (const [key, value] of Object.entries(machine)) process.stdout.write(`${key.padEnd(10)} ${value}\n`);
  const archive = makeArchive();
  for (let round = 0; round < options.rounds && !interrupted; round++) {
    // Whoever comes first gets the coldest disk: each is first in turn.
    for (let turn = 0; turn < targets.length && !interrupted; turn++) await runRound(targets[(round + turn) % targets.length], round, archive);
  }
  const names = targets.map((target) => target.name);
  const summary = summarize(rows, names, samples);
  process.stdout.write(`\n`);
  printTable(summary, names);
  const memory = await memoryOf(targets.find((target) => target.name === 'sdfs'));
  process.stdout.write(`${options.rounds} rounds, large file ${options.size} MiB, ${options.files} small files, tree of ${archive.files} files; ${options.disks} disks, ${options.copies} copies\n`);
  if (options.json !== undefined) {
    writeFileSync(options.json, `${JSON.stringify({ when: new Date().toISOString(), machine, options: { ...options, json: undefined }, targets: names, rows: summary, memory }, null, 1)}\n`);
  }
  if (interrupted || summary.some((row) => names.some((name) => row.figures[name].median === undefined))) process.exitCode = 1;
} catch (error) {
  process.stderr.write(`bench: ${error.stderr || error.message}\n`);
  process.exitCode = 1;
} finally {
  for (const target of targets.toReversed()) await target.end().catch((error) => process.stderr.write(`bench: ${target.name}: ${error.message}\n`));
  removePlace(place);
}

/** The tree that is unpacked: /usr/include where there is one, like every machine that compiles has. */
function makeArchive() {
  const source = existsSync('/usr/include/linux') ? '/usr/include' : '/usr/share/doc';
  const path = join(place, 'tree.tar');
  execFileSync('tar', ['cf', path, '-C', source, '.']);
  const files = execFileSync('tar', ['tf', path], { maxBuffer: 1 << 28 }).toString('latin1').split('\n').length - 1;
  return { path, files };
}

function runRound(target, round, archive) {
  const job = {
    directory: join(target.directory, `bench-${process.pid}-${round}`), rows: rows.map((row) => row.name), sizeMiB: options.size, files: options.files,
    archive: archive.path, archiveFiles: archive.files,
  };
  process.stderr.write(`round ${round + 1} of ${options.rounds}: ${target.name}\n`);
  const values = samples.get(target.name) ?? new Map(rows.map((row) => [row.name, []]));
  samples.set(target.name, values);
  return new Promise((resolve, reject) => {
    child = spawn(process.execPath, [WORK, JSON.stringify(job)], { stdio: ['ignore', 'pipe', 'inherit'], timeout: ROUND_TIMEOUT_MS, killSignal: 'SIGKILL' });
    let text = '';
    child.stdout.on('data', (chunk) => {
      text += chunk;
    });
    child.once('error', reject);
    child.once('close', () => {
      for (const line of text.split('\n').filter((candidate) => candidate !== '')) {
        const { row, value, error } = JSON.parse(line);
        values.get(row).push(value);
        if (error !== undefined) process.stderr.write(`bench: ${target.name}, ${row}: ${error}\n`);
      }
      resolve();
    });
  });
}

async function memoryOf(target) {
  if (target?.memory === undefined) return undefined;
  const memory = await target.memory().catch(() => []);
  if (memory.length > 0) process.stdout.write(`anonymous memory: ${memory.map((entry) => `${entry.process} ${entry.anonymousMB} MB`).join(', ')}\n`);
  return memory;
}

function fail(message) {
  process.stderr.write(`bench: ${message}\n`);
  process.exit(2);
}
