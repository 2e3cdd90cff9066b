// Small JSON files that say themselves whether they are as they were written: a flipped digit is still JSON.
//
//   { …content, "crc": CRC-32 (8 hex digits) of the JSON of the content without it }      one object
//
// A file without "crc" is taken as it is: an older sdfs wrote it, or a person did.
import { crc32 } from 'node:zlib';

/** One line, or indented. */
export function toCheckedJson(content: object, indent?: number): string {
  return `${JSON.stringify({ ...content, crc: checksum(content) }, null, indent)}\n`;
}

/** SyntaxError when it is not JSON, or not what was written. */
export function parseCheckedJson(text: string): unknown {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new SyntaxError('not JSON', { cause });
  }
  if (typeof json !== 'object' || json === null || !('crc' in json)) return json;
  const { crc, ...content } = json;
  if (crc !== checksum(content)) throw new SyntaxError('not what its checksum "crc" says');
  return content;
}

function checksum(content: object): string {
  return crc32(JSON.stringify(content)).toString(16).padStart(8, '0');
}
