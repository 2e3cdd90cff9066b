// Changes the metadata of a volume that is not mounted, behind the back of sdfs: for tests of what finds and repairs it.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DriverEpoch } from '../../src/base/ids.ts';
import { DatabaseTrust } from '../../src/driver/database-trust.ts';
import type { Reader, Transaction } from '../../src/metadata/engine.ts';
import { LmdbEngine } from '../../src/metadata/lmdb/engine.ts';

/** The volume must have been unmounted cleanly. The next driver believes the driver's own database, and gives it to the disks. */
export async function damageVolume(volume: string, work: (tx: Transaction, reader: Reader) => void): Promise<void> {
  const directory = join(volume, 'driver');
  const { epoch } = JSON.parse(readFileSync(join(volume, 'state.json'), 'utf8')) as { epoch: number };
  const trust = new DatabaseTrust(directory);
  trust.claim();
  const engine = await LmdbEngine.open({ directory, journalDirectory: join(directory, 'journal-of-test'), epoch: epoch as DriverEpoch, closedCleanly: true }, () => {});
  engine.transact(null, (tx) => work(tx, engine.reader));
  await engine.close();
  trust.markClean();
}
