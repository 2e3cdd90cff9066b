// What who opens the engine tells it, and is told.
import type { BlockId, DriverEpoch, Sequence } from '../../base/ids.ts';

/** A journal record that carried small data which may not be on the workers yet. */
export interface ReplayedData {
  readonly id: BlockId;
  readonly data: Buffer;
  readonly sequence: Sequence;
}

export interface LmdbEngineOptions {
  readonly directory: string;
  /** Where the journal lies; need not survive the machine, must survive the process. Default: below `directory`. */
  readonly journalDirectory?: string;
  readonly epoch: DriverEpoch;
  /** Epoch of the first driver of this mount: requests of former mounts had the same numbers, their results do not count. Default: `epoch`. */
  readonly mountEpoch?: DriverEpoch;
  /** The last holder closed it: no journal is needed. Else a journal that is behind the rows is one that was lost. */
  readonly closedCleanly?: boolean;
  /** Called before LMDB's file grows: sets space aside for it, false when there is none. */
  readonly reserveSpace?: () => boolean;
  /** Told once when nothing more can be acknowledged: the process must end, the journal has all that was. */
  readonly onFailure?: (error: Error) => void;
  /** Changes after which the open LMDB transaction is committed without waiting for an idle moment. */
  readonly batchOperationsMax?: number;
}
