// Arguments of commands as numbers, options and times; the errors are Redis's.
import { CommandError } from './errors.ts';

export const SYNTAX = 'ERR syntax error';
const NOT_INTEGER = 'ERR value is not an integer or out of range';
const INTEGER_MIN = -(2n ** 63n);
const INTEGER_MAX = 2n ** 63n - 1n;
/** Whole numbers of so many digits are exact in a JS number. */
const SAFE_DIGITS = 15;
/** Times beyond it are no Date. */
const TIME_MS_MAX = 8.64e15;

/** A decimal 64-bit integer as Redis takes it: no plus sign, no spaces, no leading zeros. Undefined when it is none. */
export function parseInteger(text: Buffer): bigint | undefined {
  if (text.length === 0 || text.length > 20) return undefined;
  const latin = text.toString('latin1');
  if (!/^(?:0|-?[1-9]\d*)$/.test(latin)) return undefined;
  if (latin.length <= SAFE_DIGITS) return BigInt(Number(latin));
  const value = BigInt(latin);
  return value < INTEGER_MIN || value > INTEGER_MAX ? undefined : value;
}

/** One that need not be exact beyond 2^53. */
export function integer(text: Buffer, complaint = NOT_INTEGER): number {
  return Number(exactInteger(text, complaint));
}

export function exactInteger(text: Buffer, complaint = NOT_INTEGER): bigint {
  const value = parseInteger(text);
  if (value === undefined) throw new CommandError(complaint);
  return value;
}

export function isInteger64(value: bigint): boolean {
  return value >= INTEGER_MIN && value <= INTEGER_MAX;
}

export function option(word: Buffer): string {
  return word.length > 32 ? '' : word.toString('latin1').toUpperCase();
}

/** Unit and base of a time, by the option that it comes with. */
const TIMES = {
  EX: { unitMs: 1000, isSpan: true },
  PX: { unitMs: 1, isSpan: true },
  EXAT: { unitMs: 1000, isSpan: false },
  PXAT: { unitMs: 1, isSpan: false },
} as const;
export type TimeOption = keyof typeof TIMES;

export function isTimeOption(word: string): word is TimeOption {
  return Object.hasOwn(TIMES, word);
}

/** Ms since 1970. CommandError unless the number is one, and the time can be. */
export function timeOf(how: TimeOption, text: Buffer, command: string): number {
  const amount = integer(text);
  const { unitMs, isSpan } = TIMES[how];
  const ms = amount * unitMs + (isSpan ? Date.now() : 0);
  if (Math.abs(ms) > TIME_MS_MAX) throw new CommandError(invalidExpiry(command));
  return ms;
}

export function invalidExpiry(command: string): string {
  return `ERR invalid expire time in '${command}' command`;
}
