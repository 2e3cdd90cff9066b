// Replaces a small file so that a power cut leaves the old content or the new one, and nothing between.
import fs from 'node:fs';
import { dirname } from 'node:path';

/** Durable when it returns. Throws the errors of `fs`; the old content is there then. */
export function replaceFile(path: string, content: string, mode = 0o600): void {
  const temporary = `${path}.new`;
  const fd = fs.openSync(temporary, 'w', mode);
  try {
    fs.writeFileSync(fd, content);
    fs.fsyncSync(fd);
  } catch (error) {
    fs.rmSync(temporary, { force: true });
    throw error;
  } finally {
    fs.closeSync(fd);
  }
  fs.renameSync(temporary, path);
  syncPath(dirname(path));
}

/** fsync of a directory or a file by its path. */
export function syncPath(path: string): void {
  const fd = fs.openSync(path, 'r');
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}
