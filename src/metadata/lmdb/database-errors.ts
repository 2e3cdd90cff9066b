// What is wrong with a database that cannot be used, and is to be made anew from the disks.

/** The file holds something that the database did not write there. */
export class DatabaseDamagedError extends Error {
  override readonly name = 'DatabaseDamagedError';
}

/** The journal of a database that was not closed is gone, and with it changes that the rows do not have. */
export class JournalLostError extends Error {
  override readonly name = 'JournalLostError';
}
