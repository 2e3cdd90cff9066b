// What the server knows of one connection besides its bytes.

export interface Session {
  readonly id: number;
  /** Of the other end, for people. */
  readonly address: string;
  readonly sinceMs: number;
  isKnown: boolean;
  name: Buffer;
  lastCommand: string;
  lastCommandMs: number;
  /** No more commands are taken; it is closed when the replies are out. */
  isEnding: boolean;
  /** What other tables of commands keep of it; see Extension. */
  readonly extensions: Map<symbol, Extension>;
}

/** Something that ends with the connection. */
export interface Extension {
  close(): void;
}

const NO_NAME = Buffer.alloc(0);

export function createSession({ id, address, isKnown }: { id: number; address: string; isKnown: boolean }): Session {
  const now = Date.now();
  return { id, address, sinceMs: now, isKnown, name: NO_NAME, lastCommand: 'NULL', lastCommandMs: now, isEnding: false, extensions: new Map() };
}

/** As RESET wants it. */
export function resetSession(session: Session, { isKnown }: { isKnown: boolean }): void {
  session.isKnown = isKnown;
  session.name = NO_NAME;
}
