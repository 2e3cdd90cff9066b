// A job queue: workers in any number of processes take the oldest job that nobody else has, and each job is done once.
import { randomUUID } from 'node:crypto';
import { openStore } from 'sdfs/kv';
import type { Store } from 'sdfs/kv';

async function add(store: Store, job: string): Promise<void> {
  await store.set(`job/${String(Date.now()).padStart(16, '0')}/${randomUUID()}`, job, { sync: true });
}

/** Does the oldest free job. False when there is none. A worker that dies loses its lock in ten seconds, and its job is free. */
async function workOnce(store: Store, work: (job: string) => Promise<void>): Promise<boolean> {
  for await (const { key } of store.range({ prefix: 'job/', values: false })) {
    const lock = await store.lease(key, { ttlMs: 10_000 });
    if (lock === undefined) continue;
    const done = await lock.run(async () => {
      const job = await store.getEntry(key);
      if (job === undefined) return false; // Somebody did it before the lock was had.
      await work(String(job.value));
      return store.delete(key, { ifVersion: job.version });
    });
    if (done) return true;
  }
  return false;
}

await using store = await openStore({ path: process.argv[2] ?? 'jobs' });
for (let number = 1; number <= 20; number++) await add(store, `mail ${number}`);
const sent: string[] = [];
const worker = async () => {
  while (await workOnce(store, async (job) => void sent.push(job)));
};
await Promise.all([worker(), worker(), worker()]);
console.log(`jobs: ${sent.length}, each once: ${new Set(sent).size === sent.length}`);
