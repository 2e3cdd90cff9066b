// Bytes are given out up to a bound, and in turn.
import { expect, test } from 'vitest';
import { ByteBudget } from '../../src/base/byte-budget.ts';

test('who would go beyond the bound waits, and so does who comes later, however little they want', async () => {
  const budget = new ByteBudget(100);
  const order: string[] = [];
  expect([budget.take(60), budget.take(40)]).toEqual([undefined, undefined]);
  const large = budget.take(70)!.then(() => order.push('large'));
  const small = budget.take(10)!.then(() => order.push('small'));
  budget.give(40);
  expect(order).toEqual([]);
  budget.give(60);
  await Promise.all([large, small]);
  expect(order).toEqual(['large', 'small']);
  budget.give(70);
  budget.give(10);
  expect(budget.take(100)).toBe(undefined);
});

test('more than all is had by who is alone', async () => {
  const budget = new ByteBudget(100);
  expect(budget.take(1)).toBe(undefined);
  const all = budget.take(1000);
  expect(all).toBeInstanceOf(Promise);
  budget.give(1);
  await all;
  const next = budget.take(1);
  budget.give(1000);
  await next;
});
