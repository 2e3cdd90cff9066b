// The types of linearizability.mjs, for the tests of it.

export interface Call {
  readonly key: string;
  readonly kind: 'get' | 'set' | 'delete';
  readonly value?: string;
  readonly ifVersion?: number;
  readonly ifAbsent?: boolean;
  readonly called: number;
  /** Undefined: its outcome is not known. */
  readonly returned?: number;
  readonly answer?: object | null;
}

export interface Grant {
  readonly name: string;
  readonly token: number;
  readonly granted: number;
  readonly until: number;
}

export function checkStoreHistory(calls: readonly Call[], options?: { configurationsMax?: number }): string[];
export function checkGrants(grants: readonly Grant[]): string[];
