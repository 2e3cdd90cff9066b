// A Store over key spaces in memory, for tests of what lies between the two.
import { StoreError } from '../../src/keys/errors.ts';
import { Leases } from '../../src/keys/leases.ts';
import { EmbeddedBackend } from '../../src/backend/embedded-backend.ts';
import { Store } from '../../src/store/store.ts';
import { ModelKeySpace } from './model-key-space.ts';

export interface ModelStore {
  readonly store: Store;
  readonly keys: ModelKeySpace;
  /** Of the leases. */
  readonly locks: ModelKeySpace;
  readonly leases: Leases;
  readonly backend: EmbeddedBackend;
  /** How often the backend's own end was reached. */
  closes: number;
}

export function modelStore({ sync = false, keys = new ModelKeySpace() }: { sync?: boolean; keys?: ModelKeySpace } = {}): ModelStore {
  const locks = new ModelKeySpace();
  const leases = new Leases(locks);
  const backend = new EmbeddedBackend({
    keys,
    leases,
    statistics: async () => ({ keys: keys.count, copies: 1, totalBytes: 0, availableBytes: 0, shards: [], degradedBlocks: 0, pendingBytes: 0 }),
    changeShards: () => Promise.reject(new StoreError('INVALID', 'a store in memory has no shards')),
    close: async () => {
      made.closes++;
    },
  });
  const made: ModelStore = { store: new Store(backend, { sync }), keys, locks, leases, backend, closes: 0 };
  return made;
}
