// A sync that failed, and what it means: the kernel calls pages clean that it could not write, and says so only once.
//
// A later sync of the same file would go well, though the bytes never reached the disk. So no sync of this process is to
// be believed any more; the next process writes anew what was not synced (disk/block-rewrite.ts, Segment.replaceFile).
export class UnsyncedError extends Error {
  override readonly name = 'UnsyncedError';
  /** Whatever the reason was: also a disk that had no space for what it had taken (thin provisioning) did not keep it. */
  readonly code = 'EIO';

  constructor(directory: string, cause: Error) {
    super(`what was written to ${directory} could not be synced, and is not to be trusted: ${cause.message}`, { cause });
  }
}

/** Whether a failed sync is at the bottom of an error. */
export function isUnsynced(error: unknown): boolean {
  for (let each = error; each instanceof Error; each = each.cause) if (each instanceof UnsyncedError) return true;
  return false;
}
