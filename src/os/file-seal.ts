// The length and CRC-32 of a whole file: proof that a database that nobody had open since is as it was closed.
import fs from 'node:fs';
import { crc32 } from 'node:zlib';

const READ_BYTES = 1024 * 1024;

/** "BYTES-CRC" of the file; undefined when there is none. Reads all of it, `onProgress` now and then. Errors of `fs`. */
export async function sealOf(path: string, onProgress?: () => void): Promise<string | undefined> {
  let file: fs.promises.FileHandle;
  try {
    file = await fs.promises.open(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const buffer = Buffer.allocUnsafe(READ_BYTES);
    let bytes = 0;
    let crc = 0;
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length, bytes);
      if (bytesRead === 0) return `${bytes}-${crc.toString(16).padStart(8, '0')}`;
      crc = crc32(buffer.subarray(0, bytesRead), crc);
      bytes += bytesRead;
      onProgress?.();
    }
  } finally {
    await file.close();
  }
}
