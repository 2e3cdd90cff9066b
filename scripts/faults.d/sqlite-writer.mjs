// SQLite transactions one after another until SIGTERM, with synchronous=full: what COMMIT acknowledged is power-proof.
//
//   node sqlite-writer.mjs DATABASE LEDGER [--allow CODE,CODE]
import { spawn } from 'node:child_process';
import { Ledger } from './ledger.mjs';

const [database, ledgerFile, , allowed = ''] = process.argv.slice(2);
const ledger = new Ledger(ledgerFile);
const mayBeFull = allowed.split(',').includes('ENOSPC');
let going = true;
process.once('SIGTERM', () => { going = false; });

const sqlite = spawn('sqlite3', ['-batch', database], { stdio: ['pipe', 'pipe', 'pipe'] });
let output = '';
let errors = '';
let wake = () => {};
sqlite.stdout.on('data', (data) => { output += data; wake(); });
sqlite.stderr.on('data', (data) => { errors += data; wake(); });
sqlite.once('exit', () => { wake(); });

/** What was said up to the line `marker`. */
async function ask(sql, marker) {
  errors = '';
  sqlite.stdin.write(`${sql}\nselect '${marker}';\n`);
  for (;;) {
    const at = output.indexOf(`${marker}\n`);
    if (at >= 0) {
      const said = output.slice(0, at);
      output = output.slice(at + marker.length + 1);
      return { said, errors };
    }
    if (sqlite.exitCode !== null) return { said: '', errors: `sqlite3 ended: ${errors}` };
    await new Promise((resolve) => { wake = resolve; });
  }
}

function fail(text) {
  console.error(`SQLite: ${text.trim()}`);
  process.exit(1);
}

const made = await ask('pragma journal_mode=wal; pragma synchronous=full; create table entry(number integer primary key, filler); create table total(n); insert into total values (0);', 'made');
if (made.errors !== '') fail(made.errors);
for (let number = 1; going; number++) {
  ledger.begun(number);
  const { errors: text } = await ask(`begin immediate; insert into entry values (${number}, randomblob(${(number * 37) % 3000})); update total set n = n + 1; commit;`, `done ${number}`);
  if (text !== '') {
    if (!mayBeFull || !/full/.test(text)) fail(text);
    await ask('rollback;', `rolled back ${number}`);
    number--;
    await new Promise((resolve) => { setTimeout(resolve, 100); });
    continue;
  }
  ledger.done(number);
  ledger.synced(number);
}
sqlite.stdin.end();
