// The work that is measured: each row prepares what it needs, untimed, and then returns how much it did in the time
// taken. Everything runs synchronously in a process of its own, so that it is the system calls that are timed.
import { execFileSync, fork, spawnSync } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { closeSync, existsSync, fdatasyncSync, fsyncSync, lstatSync, mkdirSync, openSync, readSync, readdirSync, renameSync, rmSync, statSync, unlinkSync, writeFileSync, writeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import koffi from 'koffi';

const MB = 1_000_000;
const MiB = 1 << 20;
const RANDOM_READS = 1500;
const RANDOM_WRITES = 2000;
const APPENDS = 300;
const CREATORS = 4;
const POSIX_FADV_RANDOM = 1;

const libc = koffi.load('libc.so.6');
const fadvise = libc.func('int posix_fadvise(int fd, int64_t offset, int64_t bytes, int advice)');
const syncAll = libc.func('void sync()');

/** Writes all that is dirty, and drops what the kernel has cached: the next access is cold. Root only. */
export function dropCaches() {
  syncAll();
  writeFileSync('/proc/sys/vm/drop_caches', '3');
}

/** Units of `count` per second. */
function rate(count, work) {
  const start = process.hrtime.bigint();
  work();
  return count / (Number(process.hrtime.bigint() - start) / 1e9);
}

/** The same numbers every time. */
function* sequence(seed, below) {
  let state = seed;
  for (;;) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    yield Math.floor((state / 4_294_967_296) * below);
  }
}

const random = (bytes) => randomFillSync(Buffer.alloc(bytes));

function writeLarge({ directory, sizeMiB }) {
  const data = random(MiB);
  const fd = openSync(`${directory}/large`, 'w', 0o644);
  for (let index = 0; index < sizeMiB; index++) {
    for (let at = 0; at < MiB; ) at += writeSync(fd, data, at, MiB - at);
  }
  fsyncSync(fd);
  closeSync(fd);
}

function readLarge({ directory, sizeMiB }) {
  const data = Buffer.alloc(MiB);
  const fd = openSync(`${directory}/large`, 'r');
  let bytes = 0;
  for (let count = 1; count > 0; bytes += count) count = readSync(fd, data, 0, MiB, null);
  closeSync(fd);
  if (bytes !== sizeMiB * MiB) throw new Error(`read ${bytes} bytes of ${sizeMiB * MiB}`);
}

function createSmall(directory, files, data = random(1024)) {
  mkdirSync(directory);
  for (let index = 0; index < files; index++) {
    const fd = openSync(`${directory}/f${index}`, 'wx', 0o644);
    writeSync(fd, data, 0, data.length);
    closeSync(fd);
  }
}

const need = {
  large: (job) => existsSync(`${job.directory}/large`) || writeLarge(job),
  small: (job) => existsSync(`${job.directory}/small`) || createSmall(`${job.directory}/small`, job.files),
  renamed: (job) => {
    need.small(job);
    if (existsSync(`${job.directory}/small/f0`)) renameSmall(job);
  },
  tree: (job) => existsSync(`${job.directory}/tree`) || untar(job),
};

function renameSmall({ directory, files }) {
  for (let index = 0; index < files; index++) renameSync(`${directory}/small/f${index}`, `${directory}/small/g${index}`);
}

function statSmall({ directory, files }) {
  for (let index = 0; index < files; index++) statSync(`${directory}/small/f${index}`);
}

function untar({ directory, archive }) {
  mkdirSync(`${directory}/tree`);
  execFileSync('tar', ['xf', archive, '-C', `${directory}/tree`]);
}

/** Four processes that begin together; their start is not timed. */
async function createInParallel({ directory, files }) {
  const script = fileURLToPath(new URL('./creator.mjs', import.meta.url));
  const creators = Array.from({ length: CREATORS }, (_, index) => fork(script, [`${directory}/parallel${index}`, String(Math.floor(files / CREATORS))]));
  const message = (creator) => new Promise((resolve, reject) => {
    creator.once('message', resolve);
    creator.once('exit', (code) => reject(new Error(`a creator ended with ${code}`)));
  });
  await Promise.all(creators.map(message));
  const start = process.hrtime.bigint();
  const done = Promise.all(creators.map(message));
  for (const creator of creators) creator.send('go');
  await done;
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  for (const creator of creators.filter((candidate) => candidate.connected)) creator.disconnect();
  return (Math.floor(files / CREATORS) * CREATORS) / seconds;
}

/** What a creator does; used by creator.mjs too. */
export { createSmall };

/** In this order: later rows find what earlier ones left, or make it untimed. `cold`: caches are dropped before. */
export const ROWS = [
  { name: 'sequential write + fsync', unit: 'MB/s', run: (job) => rate((job.sizeMiB * MiB) / MB, () => writeLarge(job)), leaves: 'large' },
  { name: 'sequential read cold', unit: 'MB/s', prepare: need.large, cold: true, run: (job) => rate((job.sizeMiB * MiB) / MB, () => readLarge(job)) },
  { name: 'sequential read warm', unit: 'MB/s', prepare: (job) => (need.large(job), readLarge(job)), run: (job) => rate((job.sizeMiB * MiB) / MB, () => readLarge(job)) },
  {
    name: 'random 4K read cold', unit: '/s', prepare: need.large, cold: true,
    run: ({ directory, sizeMiB }) => rate(RANDOM_READS, () => {
      const places = sequence(7, sizeMiB * 256);
      const data = Buffer.alloc(4096);
      const fd = openSync(`${directory}/large`, 'r');
      fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
      for (let index = 0; index < RANDOM_READS; index++) readSync(fd, data, 0, 4096, places.next().value * 4096);
      closeSync(fd);
    }),
  },
  {
    name: 'random 4K write + fsync', unit: '/s', prepare: need.large,
    run: ({ directory, sizeMiB }) => {
      const data = random(4096);
      return rate(RANDOM_WRITES, () => {
        const places = sequence(8, sizeMiB * 256);
        const fd = openSync(`${directory}/large`, 'r+');
        for (let index = 0; index < RANDOM_WRITES; index++) writeSync(fd, data, 0, 4096, places.next().value * 4096);
        fsyncSync(fd);
        closeSync(fd);
      });
    },
  },
  {
    name: 'append 4K + fdatasync', unit: '/s',
    run: ({ directory }) => {
      const data = random(4096);
      return rate(APPENDS, () => {
        const fd = openSync(`${directory}/log`, 'a', 0o644);
        for (let index = 0; index < APPENDS; index++) {
          writeSync(fd, data, 0, 4096);
          fdatasyncSync(fd);
        }
        closeSync(fd);
      });
    },
  },
  { name: 'create 1K files', unit: '/s', run: (job) => rate(job.files, () => createSmall(`${job.directory}/small`, job.files)) },
  { name: 'create 1K files, 4 processes', unit: '/s', run: createInParallel },
  { name: 'stat cold', unit: '/s', prepare: need.small, cold: true, run: (job) => rate(job.files, () => statSmall(job)) },
  { name: 'stat warm', unit: '/s', prepare: (job) => (need.small(job), statSmall(job)), run: (job) => rate(job.files, () => statSmall(job)) },
  {
    name: 'ls -l cold', unit: '/s', prepare: need.small, cold: true,
    run: ({ directory, files }) => rate(files, () => {
      for (const name of readdirSync(`${directory}/small`)) lstatSync(`${directory}/small/${name}`);
    }),
  },
  {
    name: 'read 1K files cold', unit: '/s', prepare: need.small, cold: true,
    run: ({ directory, files }) => rate(files, () => {
      const data = Buffer.alloc(2048);
      for (let index = 0; index < files; index++) {
        const fd = openSync(`${directory}/small/f${index}`, 'r');
        readSync(fd, data, 0, 2048, null);
        closeSync(fd);
      }
    }),
  },
  { name: 'rename', unit: '/s', prepare: need.small, run: (job) => rate(job.files, () => renameSmall(job)) },
  {
    name: 'unlink', unit: '/s', prepare: need.renamed,
    run: ({ directory, files }) => rate(files, () => {
      for (let index = 0; index < files; index++) unlinkSync(`${directory}/small/g${index}`);
    }),
  },
  { name: 'untar a tree', unit: 'files/s', run: (job) => rate(job.archiveFiles, () => untar(job)) },
  {
    name: 'read a tree cold', unit: 'files/s', prepare: need.tree, cold: true,
    run: ({ directory, archiveFiles }) => rate(archiveFiles, () => {
      const { status } = spawnSync('sh', ['-c', 'tar cf - -C "$0" . | cat >/dev/null', `${directory}/tree`]);
      if (status !== 0) throw new Error(`tar ended with ${status}`);
    }),
  },
  { name: 'rm -rf a tree', unit: 'files/s', prepare: need.tree, run: ({ directory, archiveFiles }) => rate(archiveFiles, () => rmTree(`${directory}/tree`)) },
];

function rmTree(path) {
  execFileSync('rm', ['-rf', path]);
}

/** Takes away what the rows left. */
export function cleanUp(directory) {
  rmSync(directory, { recursive: true, force: true });
}
