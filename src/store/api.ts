// What `import … from 'sdfs/kv'` gives.
export { connectStore } from './connect-store.ts';
export type { ConnectStoreOptions, StoreAddress } from './connect-store.ts';
export { openStore } from './open-store.ts';
export type { OpenStoreOptions } from './open-store.ts';
export { Store } from './store.ts';
export type { BatchOperation, DeleteOptions, Entry, KeyLike, LockOptions, RangeEntry, RangeOptions, SetOptions, ValueLike, WriteOptions } from './store.ts';
export { Lock } from './lock.ts';
export { ConflictError, DamagedKeyError, StoreError } from '../keys/errors.ts';
export type { StoreErrorCode } from '../keys/errors.ts';
export type { StoreStatistics } from '../backend/backend.ts';
