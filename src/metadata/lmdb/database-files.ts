// The files of the driver's database as a whole, while nobody has it open: there, set aside, removed.
import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';

export interface DatabaseFiles {
  readonly directory: string;
  /** Default: below `directory`. */
  readonly journalDirectory?: string;
}

export function databaseExists(directory: string): boolean {
  return existsSync(join(directory, 'rows'));
}

/** Moves a database that is not to be trusted out of the way, to "….aside"; the last such one is kept. */
export function setDatabaseAside({ directory, journalDirectory }: DatabaseFiles): void {
  for (const path of [directory, journalDirectory]) {
    if (path === undefined || !existsSync(path) || readdirSync(path).length === 0) continue;
    const aside = `${path}.aside`;
    rmSync(aside, { recursive: true, force: true });
    renameSync(path, aside);
  }
}

export function eraseDatabase({ directory, journalDirectory }: DatabaseFiles): void {
  for (const path of [directory, journalDirectory]) if (path !== undefined) rmSync(path, { recursive: true, force: true });
}
