// A content-addressed store: a file is kept once under the hash of what is in it, and checked when it is read.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { StoreError, openStore } from 'sdfs/kv';
import type { Store } from 'sdfs/kv';

async function hashOf(bytes: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(bytes, hash);
  return hash.digest('hex');
}

/** Keeps a file of up to 64 MiB; its address, and whether it was new. */
async function keep(store: Store, file: string): Promise<{ address: string; isNew: boolean }> {
  const address = await hashOf(createReadStream(file));
  if (await store.has(`sha256/${address}`)) return { address, isNew: false };
  try {
    await store.set(`sha256/${address}`, createReadStream(file), { ifAbsent: true, sync: true });
    return { address, isNew: true };
  } catch (error) {
    if (error instanceof StoreError && error.code === 'CONFLICT') return { address, isNew: false };
    throw error;
  }
}

async function isWhole(store: Store, address: string): Promise<boolean> {
  const stream = await store.getStream(`sha256/${address}`);
  return stream !== undefined && (await hashOf(stream)) === address;
}

await using store = await openStore({ path: process.argv[2] ?? 'contents' });
const first = await keep(store, '/bin/sh');
const second = await keep(store, '/bin/sh');
console.log(`new: ${first.isNew}, then ${second.isNew}; whole: ${await isWhole(store, first.address)}`);
