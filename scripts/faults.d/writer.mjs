// Lives a writer's history (model.mjs) on a directory, until SIGTERM. Any error that is not allowed ends it with code 1.
//
//   node writer.mjs DIRECTORY NUMBER SEED LEDGER [--allow CODE,CODE]     makes DIRECTORY/wNUMBER, appends to DIRECTORY/shared
import fs from 'node:fs';
import { join } from 'node:path';
import { Ledger } from './ledger.mjs';
import { History, sharedRecord } from './model.mjs';
import { compare, readTree } from './verify.mjs';

const [directory, number, seed, ledgerFile, , allowed = ''] = process.argv.slice(2);
const root = join(directory, `w${number}`);
const shared = join(directory, 'shared');
const allow = new Set(allowed.split(',').filter((code) => code !== ''));
/** Steps between two looks at the whole tree while the faults go on. */
const LOOK_EVERY = 400;

const ledger = new Ledger(ledgerFile);
const history = new History(Number(seed));
let going = true;
process.once('SIGTERM', () => { going = false; });

function withFile(path, flags, work) {
  const fd = fs.openSync(path, flags);
  try {
    work(fd);
  } finally {
    fs.closeSync(fd);
  }
}

function write(path, flags, data, offset) {
  withFile(path, flags, (fd) => {
    const written = fs.writeSync(fd, data, 0, data.length, offset);
    if (written !== data.length) throw Object.assign(new Error(`write to ${path} took ${written} of ${data.length} bytes`), { code: 'SHORT' });
  });
}

const { O_RDONLY, O_WRONLY, O_CREAT, O_EXCL, O_APPEND } = fs.constants;
const actions = {
  sync: ({ path }) => withFile(join(root, path), O_RDONLY, (fd) => fs.fsyncSync(fd)),
  shared: () => write(shared, O_WRONLY | O_CREAT | O_APPEND, sharedRecord(number, history.sharedRecords + 1), null),
  create: ({ path }) => withFile(join(root, path), O_WRONLY | O_CREAT | O_EXCL, () => {}),
  append: ({ path, data }) => write(join(root, path), O_WRONLY | O_APPEND, data, null),
  write: ({ path, data, offset }) => write(join(root, path), O_WRONLY, data, offset),
  truncate: ({ path, size }) => fs.truncateSync(join(root, path), size),
  rename: ({ path, target }) => fs.renameSync(join(root, path), join(root, target)),
  link: ({ path, target }) => fs.linkSync(join(root, path), join(root, target)),
  symlink: ({ path, target }) => fs.symlinkSync(target, join(root, path)),
  mkdir: ({ path }) => fs.mkdirSync(join(root, path)),
  rmdir: ({ path }) => fs.rmdirSync(join(root, path)),
  unlink: ({ path }) => fs.unlinkSync(join(root, path)),
};

fs.mkdirSync(root);
while (going) {
  const step = history.next();
  const index = history.count + 1;
  ledger.begun(index);
  try {
    actions[step.kind](step);
  } catch (error) {
    if (!allow.has(error.code)) {
      console.error(`writer ${number}, seed ${seed}, step ${index} (${step.kind} ${step.path ?? ''}): ${error.message}`);
      process.exit(1);
    }
    ledger.skipped(index, error.code);
    history.skip();
    continue;
  }
  history.take(step);
  ledger.done(index);
  if (step.kind === 'sync') ledger.synced(index);
  if (index % LOOK_EVERY === 0) {
    const difference = compare(history, readTree(root));
    if (difference !== undefined) {
      console.error(`writer ${number}, seed ${seed}, after step ${index}: ${difference}`);
      process.exit(1);
    }
  }
  // Lets SIGTERM in.
  if (index % 20 === 0) await new Promise((resolve) => { setImmediate(resolve); });
}
