// What the public Store promises, whatever is below it: run on every way to open one.
import { describe } from 'vitest';
import { conditions } from './conformance-conditions.ts';
import { expiry } from './conformance-expiry.ts';
import { lifeCycle } from './conformance-life-cycle.ts';
import { locks } from './conformance-locks.ts';
import { ranges } from './conformance-ranges.ts';
import { streams } from './conformance-streams.ts';
import { values } from './conformance-values.ts';
import { Group } from './under-test.ts';
import type { Lacks, StoreUnderTest } from './under-test.ts';

export function describeStore(name: string, open: () => Promise<StoreUnderTest>, lacks: Lacks = {}): void {
  describe(`the store ${name}`, () => {
    const group = new Group(open, lacks);
    values(group);
    streams(group);
    conditions(group);
    expiry(group);
    ranges(group);
    locks(group);
    lifeCycle(group);
  });
}
