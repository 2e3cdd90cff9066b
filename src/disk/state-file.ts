// Writes one of the small files in which a disk notes its own state, durably, also on a full disk.
import fs from 'node:fs';
import { replaceFile } from '../os/replace-file.ts';

/** Durable when it returns. Errors of `fs`; the old content is there then. */
export function writeStateFile(file: string, content: string): void {
  try {
    replaceFile(file, content);
  } catch (error) {
    if (!isNoSpace(error)) throw error;
    // A full disk must open, to be emptied. What a power cut leaves of this is whole, or not to be trusted.
    overwrite(file, content);
  }
}

function isNoSpace(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT');
}

/** In the page that the file has; durable when it returns. */
function overwrite(file: string, content: string): void {
  const fd = fs.openSync(file, 'r+');
  try {
    fs.writeSync(fd, content.padEnd(fs.fstatSync(fd).size), 0);
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}
