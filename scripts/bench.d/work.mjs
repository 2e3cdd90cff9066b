// One round of work on one directory, in a process of its own: a hung mount hangs this process and not the benchmark.
// usage: work.mjs JOB-JSON; prints a line of JSON for each row: {"row", "value"} or {"row", "error"}.
import { mkdirSync } from 'node:fs';
import { ROWS, cleanUp, dropCaches } from './rows.mjs';

const job = JSON.parse(process.argv[2]);
mkdirSync(job.directory, { recursive: true });
try {
  for (const row of ROWS.filter((candidate) => job.rows.includes(candidate.name))) {
    const result = await measure(row).then((value) => ({ value }), (error) => ({ error: error.message }));
    process.stdout.write(`${JSON.stringify({ row: row.name, ...result })}\n`);
  }
} finally {
  cleanUp(job.directory);
}
// koffi and libuv have nothing left to do, and a pool thread that waits on a dead mount shall not keep this alive.
process.exit(0);

async function measure(row) {
  row.prepare?.(job);
  if (row.cold) dropCaches();
  return row.run(job);
}
