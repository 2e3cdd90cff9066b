// Points in time as the kernel tells and asks them.

export interface Timestamp {
  /** Seconds since 1970, may be negative. */
  readonly seconds: number;
  /** 0 … 999,999,999. */
  readonly nanoseconds: number;
}
