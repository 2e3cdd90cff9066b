// Reads the values of options. UserError (usage) for what cannot be read.
import { EXIT, UserError } from '../base/errors.ts';

const SIZE_UNITS: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/** "256K", "1MiB", "65536" in bytes. */
export function parseSize(text: string): number {
  const match = /^(\d+)\s*([KMGT]?)(i?B)?$/i.exec(text.trim());
  const bytes = match === null ? NaN : Number(match[1]) * (SIZE_UNITS[(match[2] ?? '').toUpperCase()] ?? NaN);
  if (!Number.isSafeInteger(bytes)) throw new UserError(`"${text}" is not a size: write bytes, or 64K, 1M`, EXIT.usage);
  return bytes;
}

export function parseCount(text: string): number {
  if (!/^\d+$/.test(text)) throw new UserError(`"${text}" is not a whole number`, EXIT.usage);
  return Number(text);
}

/** For options that may be given several times. */
export function collect(value: string, previous: readonly string[] = []): string[] {
  return [...previous, value];
}
