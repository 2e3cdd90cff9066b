// The checker of histories itself: histories that could have happened, histories that could not, and many from a seed.
import { describe, expect, it } from 'vitest';
import { checkGrants, checkStoreHistory } from '../../scripts/faults.d/linearizability.mjs';
import type { Call } from '../../scripts/faults.d/linearizability.mjs';
import { chances } from '../support/chances.ts';

type Times = readonly [called: number, returned?: number];
const times = ([called, returned]: Times) => (returned === undefined ? { called } : { called, returned });
const get = (at: Times, value: string | null, version?: number): Call => ({ key: 'k', kind: 'get', ...times(at), answer: value === null ? null : { value, version } });
const set = (at: Times, value: string, version?: number, condition: Partial<Call> = {}): Call => ({ key: 'k', kind: 'set', value, ...condition, ...times(at), ...(at[1] === undefined ? {} : { answer: { version } }) });
const refused = (at: Times, value: string, conflict: number | null, condition: Partial<Call>): Call => ({ key: 'k', kind: 'set', value, ...condition, ...times(at), answer: { conflict } });
const remove = (at: Times, found = true, condition: Partial<Call> = {}): Call => ({ key: 'k', kind: 'delete', ...condition, ...times(at), ...(at[1] === undefined ? {} : { answer: { found } }) });

describe('a history is linearizable when', () => {
  const could: Record<string, Call[]> = {
    'nothing happened': [],
    'calls come one after the other': [get([1, 2], null), set([3, 4], 'a', 1), get([5, 6], 'a', 1), remove([7, 8], true), get([9, 10], null), remove([11, 12], false)],
    'a read during a write sees it or not': [set([1, 2], 'a', 1), set([3, 10], 'b', 2), get([4, 5], 'a', 1), get([6, 7], 'b', 2)],
    'writes at once have their order from the versions': [set([1, 10], 'a', 2), set([1, 10], 'b', 1), get([11, 12], 'a', 2)],
    'a write of which no answer came happened': [set([1, 2], 'a', 1), set([3], 'b'), get([10, 11], 'b', 2), get([12, 13], 'b', 2)],
    'a write of which no answer came never happened': [set([1, 2], 'a', 1), set([3], 'b'), get([10, 11], 'a', 1)],
    'a write of which no answer came happened late': [set([1, 2], 'a', 1), set([3], 'b'), get([10, 11], 'a', 1), get([12, 13], 'b', 2)],
    'a deletion of which no answer came happened late': [set([1, 2], 'a', 1), remove([3]), get([4, 5], 'a', 1), get([6, 7], null)],
    'one of two that wanted the same version had it': [set([1, 2], 'a', 1), set([3, 9], 'b', 2, { ifVersion: 1 }), refused([3, 8], 'c', 2, { ifVersion: 1 })],
    'one that wanted no key found none': [set([1, 5], 'a', 1, { ifAbsent: true }), refused([2, 4], 'b', 1, { ifAbsent: true }), remove([6, 7], true), set([8, 9], 'c', 2, { ifAbsent: true })],
    'a refusal names a version of which no answer came': [set([1, 2], 'a', 1), set([3], 'b', undefined, { ifVersion: 1 }), refused([5, 6], 'c', 2, { ifVersion: 1 })],
  };
  it.each(Object.entries(could))('%s', (_, history) => {
    expect(checkStoreHistory(history)).toEqual([]);
  });
});

describe('a history is not linearizable when', () => {
  const couldNot: Record<string, Call[]> = {
    'a read is stale': [set([1, 2], 'a', 1), set([3, 4], 'b', 2), get([5, 6], 'a', 1)],
    'an acknowledged write is lost': [set([1, 2], 'a', 1), get([3, 4], null)],
    'a deleted key is back': [set([1, 2], 'a', 1), remove([3, 4], true), get([5, 6], 'a', 1)],
    'a read goes back behind another': [set([1, 2], 'a', 1), set([3, 20], 'b', 2), get([4, 5], 'b', 2), get([6, 7], 'a', 1)],
    'a write of which no answer came happens and is undone': [set([1, 2], 'a', 1), set([3], 'b'), get([4, 5], 'b', 2), get([6, 7], 'a', 1)],
    'a value was never written': [set([1, 2], 'a', 1), get([3, 4], 'z', 1)],
    'a value is read before it was written': [get([1, 2], 'a', 1), set([3, 4], 'a', 1)],
    'two had the same version to themselves': [set([1, 2], 'a', 1), set([3, 9], 'b', 2, { ifVersion: 1 }), set([3, 8], 'c', 3, { ifVersion: 1 })],
    'two found no key at once': [set([1, 5], 'a', 1, { ifAbsent: true }), set([2, 4], 'b', 2, { ifAbsent: true })],
    'a refusal had no reason': [set([1, 2], 'a', 1), refused([3, 4], 'b', 1, { ifVersion: 1 })],
    'a key was deleted twice': [set([1, 2], 'a', 1), remove([3, 9], true), remove([3, 9], true)],
    'a value has two versions': [set([1, 2], 'a', 1), get([3, 4], 'a', 2)],
    'a version comes twice': [set([1, 2], 'a', 1), { ...set([3, 4], 'b', 1), key: 'other' }],
    'versions of different keys go back': [set([1, 2], 'a', 5), { ...set([3, 4], 'b', 4), key: 'other' }],
  };
  it.each(Object.entries(couldNot))('%s', (_, history) => {
    expect(checkStoreHistory(history)).not.toEqual([]);
  });
});

/** What clients of a correct store would have seen: each call has its moment somewhere between its two times. */
function simulate(seed: number, { clients, calls, killed }: { clients: number; calls: number; killed: number }): Call[] {
  const chance = chances(seed);
  const made = Array.from({ length: clients }, (_, client) => {
    let clock = 0;
    return Array.from({ length: calls }, (__, index) => {
      const called = clock + 1 + chance() * 3;
      const moment = called + chance() * 5;
      clock = moment + chance() * 5;
      return { client, index, called, moment, returned: clock, isKilled: chance() < killed };
    });
  }).flat().toSorted((one, other) => one.moment - other.moment);
  let state: { value: string; version: number } | undefined;
  let version = 0;
  const history: Call[] = [];
  for (const { client, index, called, returned, isKilled } of made) {
    const base = { key: 'k', called, ...(isKilled ? {} : { returned }) };
    const kind = (['get', 'set', 'set', 'delete', 'versioned', 'fresh'] as const)[Math.floor(chance() * 6)]!;
    const value = `${client}.${index}`;
    const answer = (told: object | null) => (isKilled ? {} : { answer: told });
    // A killed call may not have happened at all.
    const happens = !isKilled || chance() < 0.5;
    if (kind === 'get') history.push({ ...base, kind, ...answer(state ?? null) });
    else if (kind === 'delete') {
      history.push({ ...base, kind, ...answer({ found: state !== undefined }) });
      if (happens) state = undefined;
    } else {
      const ifVersion = Math.max(1, version - Math.floor(chance() * 2));
      const condition = kind === 'versioned' ? { ifVersion } : kind === 'fresh' ? { ifAbsent: true } : {};
      const holds = kind === 'set' || (kind === 'fresh' ? state === undefined : state?.version === ifVersion);
      if (!holds) history.push({ ...base, kind: 'set', value, ...condition, ...answer({ conflict: state?.version ?? null }) });
      else {
        if (happens) state = { value, version: ++version };
        history.push({ ...base, kind: 'set', value, ...condition, ...answer({ version }) });
      }
    }
  }
  return history;
}

describe('histories from a seed', () => {
  it.each([1, 2, 3, 4, 5, 6, 7, 8])('of a correct store are linearizable (seed %i)', (seed) => {
    expect(checkStoreHistory(simulate(seed, { clients: 6, calls: 120, killed: 0 }))).toEqual([]);
    expect(checkStoreHistory(simulate(seed, { clients: 4, calls: 40, killed: 0.04 }))).toEqual([]);
  });

  it('are not when the answer of one read is an older one', () => {
    let found = 0;
    for (let seed = 1; seed <= 20; seed++) {
      const history = simulate(seed, { clients: 4, calls: 60, killed: 0 });
      const reads = history.filter((call) => call.kind === 'get' && call.answer !== null);
      const late = reads.at(-1)!;
      const early = reads.find((call) => JSON.stringify(call.answer) !== JSON.stringify(late.answer))!;
      const spoiled = history.map((call) => (call === late ? { ...call, answer: early.answer! } : call));
      if (checkStoreHistory(spoiled).length > 0) found++;
    }
    expect(found).toBe(20);
  });

  it('that would take too long have no verdict, which is a finding', () => {
    expect(checkStoreHistory(simulate(1, { clients: 6, calls: 100, killed: 0 }), { configurationsMax: 10 })).toEqual([expect.stringContaining('no verdict')]);
  });
});

describe('locks', () => {
  const grant = (token: number, granted: number, until: number, name = 'a') => ({ name, token, granted, until });

  it('are well held one after the other, and side by side under different names', () => {
    expect(checkGrants([grant(1, 10, 20), grant(2, 20, 30), grant(5, 40, 50), grant(3, 15, 45, 'b')])).toEqual([]);
  });

  it('are not held by two at once, nor with tokens that go back', () => {
    expect(checkGrants([grant(1, 10, 20), grant(2, 19, 30)])).toEqual([expect.stringContaining('two hold the lock at once')]);
    expect(checkGrants([grant(2, 10, 20), grant(1, 25, 30)])).toEqual([expect.stringContaining('tokens went back')]);
  });
});
