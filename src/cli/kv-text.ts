// Keys and values as words: on the command line, as output, and as lines of JSON.
//
//   {"key": "name", "value": {"base64": "/wA="}, "expires": "2027-01-01T00:00:00.000Z"}
//
// Bytes are text where they are UTF-8 and not mostly control characters, else base64. "expires" is left out where it never does;
// "version" is written, and not read.
import { once } from 'node:events';
import { InvalidArgumentError, Option } from 'commander';
import { EXIT, UserError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { bytesText } from '../dump/row-text.ts';
import type { BytesText } from '../dump/row-text.ts';
import type { DamagedKeyError } from '../keys/errors.ts';
import { warn } from './terminal.ts';

export type KeyEncoding = 'text' | 'hex' | 'base64';

export interface KeyOptions {
  readonly keys: KeyEncoding;
}

export const keysOption = (): Option => new Option('--keys <encoding>', 'how keys are written, here and in the output').choices(['text', 'hex', 'base64']).default('text');

/** UserError (usage) for what is none, and for a key that is too long. */
export function parseKey(text: string, encoding: KeyEncoding): Buffer {
  const key = encoding === 'text' ? Buffer.from(text) : encoding === 'hex' ? Buffer.from(text, 'hex') : fromBase64(text);
  if (key === undefined || (encoding === 'hex' && key.toString('hex') !== text.toLowerCase())) throw new UserError(`"${text}" is no ${encoding}`, EXIT.usage);
  if (key.length > LIMITS.keyBytesMax) throw new UserError(`a key of ${key.length} bytes: ${LIMITS.keyBytesMax} are allowed`, EXIT.usage);
  return key;
}

/** Of a terminal that it goes to, control characters are kept away. */
export function showKey(key: Buffer, encoding: KeyEncoding, { toTerminal }: { readonly toTerminal: boolean }): Buffer {
  if (encoding !== 'text') return Buffer.from(key.toString(encoding));
  // oxlint-disable-next-line no-control-regex
  return toTerminal ? Buffer.from(key.toString().replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, '?')) : key;
}

const TIME_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** "90s", "15m", "24h", "7d", "500ms", or seconds; in ms. */
export function parseDuration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)?$/.exec(text);
  const ms = match === null ? NaN : Number(match[1]) * TIME_UNITS[match[2] ?? 's']!;
  if (!(ms > 0 && ms <= LIMITS.ttlMsMax)) throw new InvalidArgumentError('wants a time, as 90s, 15m, 24h, 7d or 500ms.');
  return ms;
}

export interface Line {
  readonly key: Buffer;
  readonly value: Buffer;
  readonly expires: Date | undefined;
}

export function formatLine({ key, value, expires, version }: { readonly key: Buffer; readonly value?: Buffer | undefined; readonly expires: Date | undefined; readonly version?: number }): string {
  return JSON.stringify({ key: compact(key), ...(value !== undefined && { value: compact(value) }), ...(expires !== undefined && { expires: expires.toISOString() }), ...(version !== undefined && { version }) });
}

/** As text, unless escapes make that longer than base64 would be. */
function compact(bytes: Buffer): BytesText {
  const text = bytesText(bytes);
  return typeof text === 'string' && text.length > 64 && JSON.stringify(text).length > 1.5 * bytes.length + 64 ? { base64: bytes.toString('base64') } : text;
}

/** TypeError that says what is wrong. */
export function parseLine(text: string): Line {
  const fields = parseObject(text);
  const strange = Object.keys(fields).find((name) => !['key', 'value', 'expires', 'version'].includes(name));
  if (strange !== undefined) throw new TypeError(`"${strange}" is no field of an entry: key, value and expires are`);
  const key = parseBytes(fields['key'], 'key');
  const value = parseBytes(fields['value'], 'value');
  if (key.length > LIMITS.keyBytesMax) throw new TypeError(`a key of ${key.length} bytes: ${LIMITS.keyBytesMax} are allowed`);
  if (value.length > LIMITS.valueBytesMax) throw new TypeError(`a value of ${value.length} bytes: ${LIMITS.valueBytesMax} are allowed`);
  const { expires } = fields;
  if (expires === undefined || expires === null) return { key, value, expires: undefined };
  const date = typeof expires === 'string' ? new Date(expires) : new Date(NaN);
  if (Number.isNaN(date.getTime())) throw new TypeError(`"expires" wants a time as ${new Date(0).toISOString()}`);
  return { key, value, expires: date };
}

function parseObject(text: string): Record<string, unknown> {
  let fields: unknown;
  try {
    fields = JSON.parse(text);
  } catch (cause) {
    throw new TypeError(`no JSON (${(cause as Error).message})`, { cause });
  }
  if (typeof fields !== 'object' || fields === null || Array.isArray(fields)) throw new TypeError('no object in braces');
  return fields as Record<string, unknown>;
}

function parseBytes(value: unknown, name: string): Buffer {
  if (typeof value === 'string') return Buffer.from(value);
  const base64 = typeof value === 'object' && value !== null && Object.keys(value).length === 1 ? (value as { base64?: unknown }).base64 : undefined;
  if (typeof base64 !== 'string') throw new TypeError(`"${name}" wants text, or {"base64": …}`);
  const bytes = fromBase64(base64);
  if (bytes === undefined) throw new TypeError(`"${name}" is no base64`);
  return bytes;
}

/** Buffer.from passes over what is no base64. */
function fromBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64').replace(/=+$/, '') === text.replace(/=+$/, '') ? bytes : undefined;
}

/** Whoever read stdout has gone, as `head` does: no failure. */
export class OutputClosedError extends Error {
  override readonly name = 'OutputClosedError';
}

let isOutputClosed = false;
process.stdout.on('error', () => { isOutputClosed = true; });

/** Waits while the reader is slow. OutputClosedError. */
export async function writeOut(bytes: Buffer | string): Promise<void> {
  if (!isOutputClosed && !process.stdout.write(bytes)) await once(process.stdout, 'drain').catch(() => {});
  if (isOutputClosed) throw new OutputClosedError();
}

/** Of a key that cannot be read: the others are printed, and the command ends as one that met damage. */
export function warnOfDamage({ message }: DamagedKeyError): void {
  warn(message);
  process.exitCode = EXIT.damaged;
}
