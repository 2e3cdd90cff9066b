// What a command is: a row of the table, and what its handler is given.
import type { CommitQueue } from '../keys/commit-queue.ts';
import type { KeySpace } from '../keys/key-space.ts';
import type { ReplyWriter } from './reply-writer.ts';
import type { ScanCursors } from './scan-cursors.ts';
import type { Session } from './session.ts';

/** Facts about the server, for INFO and the like; they are of this moment. */
export interface ServerFacts {
  readonly startedMs: number;
  readonly clients: readonly Session[];
  readonly clientsMax: number;
  readonly commandsRun: number;
  readonly connectionsMade: number;
  readonly port: number;
}

export interface CommandContext {
  readonly keys: KeySpace;
  /** Changes of commands that had to wait for something: those of one turn are one record. */
  readonly commits: CommitQueue;
  readonly session: Session;
  readonly scans: ScanCursors;
  readonly facts: ServerFacts;
  /** Undefined: the server has no password. */
  readonly isPassword: ((given: Buffer) => boolean) | undefined;
  readonly table: ReadonlyMap<string, Command>;
}

export type WriteReply = (reply: ReplyWriter) => void;

/** The rest of a command that has to wait for something. It is begun when what the others of its group did is process-proof. */
export interface Later {
  readonly run: () => Promise<WriteReply>;
  /** What the values in its answer have; small ones count as none. */
  readonly bytes: number;
}

export function later(run: () => Promise<WriteReply>, bytes = 0): Later {
  return { run, bytes };
}

/**
 * Carries the command out and writes its one reply, or returns the rest of its work and writes nothing. It runs inside
 * KeySpace.group, and is run again when that fails: what it changes besides keys must bear that. Throws CommandError or
 * StoreError. `words` are the name and the arguments.
 */
export type Handler = (context: CommandContext, words: readonly Buffer[], reply: ReplyWriter) => Later | void;

export interface Command {
  /** In lower case. */
  readonly name: string;
  /** Words, the name among them; negative: at least so many. As in Redis. */
  readonly arity: number;
  /** `read` and `write`: of keys. Reads of a connection may wait beside each other. */
  readonly kind: 'read' | 'write' | 'other';
  readonly handler: Handler;
  /** Positions of the first and the last key (negative: from the end), and the step; for COMMAND. */
  readonly keys?: readonly [first: number, last: number, step: number];
  /** Allowed before the password was given. */
  readonly isOpen?: true;
  /** Says in its reply what it answers, so that others need not wait for it. */
  readonly isUnordered?: true;
}
