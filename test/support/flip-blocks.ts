// Bits that rot in the blocks on disks, under a living mount.
import { open, readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** Flips a bit of every copy of these bytes; resolves with how many there were. */
export async function flipWhereFound(disks: readonly string[], bytes: Buffer): Promise<number> {
  let found = 0;
  for (const directory of disks.map((disk) => join(disk, 'blocks'))) {
    for (const name of await readdir(directory)) {
      const at = (await readFile(join(directory, name))).indexOf(bytes);
      if (at < 0) continue;
      const file = await open(join(directory, name), 'r+');
      await file.write(Buffer.of(bytes[0]! ^ 1), 0, 1, at);
      await file.sync();
      await file.close();
      found++;
    }
  }
  return found;
}
