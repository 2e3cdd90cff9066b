// Listens for clients of the Redis protocol, on a UNIX socket or a port, and moves bytes between them and their connections.
import { createHash, timingSafeEqual } from 'node:crypto';
import { chmodSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { LIMITS } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { CommitQueue } from '../keys/commit-queue.ts';
import { StoreError } from '../keys/errors.ts';
import type { KeySpace } from '../keys/key-space.ts';
import type { Command, ServerFacts } from '../resp/command.ts';
import { commandTable } from '../resp/command-table.ts';
import { Connection } from '../resp/connection.ts';
import type { Outlet } from '../resp/connection.ts';
import { Executor } from '../resp/executor.ts';
import { ScanCursors } from '../resp/scan-cursors.ts';
import { createSession } from '../resp/session.ts';
import type { Session } from '../resp/session.ts';

export type ServerPlace = { readonly path: string } | { readonly host: string; readonly port: number };

export interface KeyServerOptions {
  readonly keys: KeySpace;
  readonly commands: readonly Command[];
  /** Without one, everybody who reaches the socket may do everything. */
  readonly password?: string | undefined;
  /** Answers go out when what they tell is power-proof; else when it is process-proof. */
  readonly syncs?: boolean | undefined;
  readonly clientsMax?: number | undefined;
  /** Bytes held for all clients. Default: LIMITS.clientsBytesMax. */
  readonly clientsBytesMax?: number | undefined;
  readonly logger: Logger;
}

const KEEP_ALIVE_MS = 300_000;
/** How long clients may take the last answers when the server closes. */
const CLOSE_MS = 2_000;

interface Client {
  readonly socket: Socket;
  readonly connection: Connection;
  /** What it held when it was last looked at. */
  bytes: number;
}

export class KeyServer {
  readonly #options: KeyServerOptions;
  readonly #server: Server;
  readonly #executor: Executor;
  readonly #commits: CommitQueue;
  readonly #scans = new ScanCursors();
  readonly #clients = new Map<Session, Client>();
  readonly #facts: ServerFacts;
  readonly #isPassword: ((given: Buffer) => boolean) | undefined;
  readonly #table: ReadonlyMap<string, Command>;
  readonly #place: ServerPlace;
  #connectionsMade = 0;
  /** What all clients held when they were last looked at. */
  #bytes = 0;
  /** Clients of which more is held since this turn. */
  readonly #unweighed = new Set<Session>();

  private constructor(place: ServerPlace, options: KeyServerOptions) {
    this.#place = place;
    this.#options = options;
    this.#commits = new CommitQueue(options.keys);
    this.#executor = new Executor(options.keys, { syncs: options.syncs === true, logger: options.logger });
    this.#table = commandTable(options.commands);
    this.#isPassword = options.password === undefined ? undefined : passwordCheck(options.password);
    this.#server = createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS, allowHalfOpen: true }, (socket) => this.#accept(socket));
    this.#facts = this.#serverFacts();
  }

  /** Resolves when clients can connect. StoreError INVALID when the place cannot be listened on. */
  static async listen(place: ServerPlace, options: KeyServerOptions): Promise<KeyServer> {
    const server = new KeyServer(place, options);
    await server.#listen();
    return server;
  }

  /** The port that it listens on; 0 for a UNIX socket. */
  get port(): number {
    const address = this.#server.address();
    return address === null || typeof address === 'string' ? 0 : address.port;
  }

  /** Takes no more clients and commands, lets the answers under way go out (bounded), and ends all connections. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const { connection } of this.#clients.values()) connection.receiveEnd();
    const timer = setTimeout(() => { for (const { socket } of this.#clients.values()) socket.destroy(); }, CLOSE_MS);
    await closed;
    clearTimeout(timer);
    if ('path' in this.#place) rmSync(this.#place.path, { force: true });
  }

  async #listen(): Promise<void> {
    const place = this.#place;
    // What a dead server left; that no living one is there is its opener's lock.
    if ('path' in place) rmSync(place.path, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (cause) => reject(new StoreError('INVALID', `cannot listen on ${describePlace(place)}: ${cause.message}`, { cause })));
      this.#server.listen('path' in place ? { path: place.path } : { host: place.host, port: place.port, backlog: 511 }, () => resolve());
    });
    this.#server.removeAllListeners('error');
    if ('path' in place) chmodSync(place.path, 0o600);
    this.#server.on('error', (error) => this.#options.logger.error({ err: error }, 'key server'));
  }

  #accept(socket: Socket): void {
    const { clientsMax = LIMITS.clientsMax, keys, logger } = this.#options;
    socket.on('error', (error) => logger.debug({ err: error }, 'a client is gone'));
    if (this.#clients.size >= clientsMax) {
      socket.end('-ERR max number of clients reached\r\n');
      socket.destroySoon();
      return;
    }
    const session = createSession({ id: ++this.#connectionsMade, address: addressOf(socket, this.#place), isKnown: this.#isPassword === undefined });
    const context = { keys, commits: this.#commits, session, scans: this.#scans, facts: this.#facts, isPassword: this.#isPassword, table: this.#table };
    const connection = new Connection({ context, outlet: outletOf(socket, () => this.#weighLater(session)), runner: this.#executor });
    const client: Client = { socket, connection, bytes: 0 };
    this.#clients.set(session, client);
    socket.on('data', (chunk: Buffer) => {
      connection.receive(chunk);
      this.#weigh(client);
    });
    socket.on('drain', () => connection.drained());
    socket.on('end', () => connection.receiveEnd());
    socket.on('close', () => {
      this.#clients.delete(session);
      this.#bytes -= client.bytes;
      connection.close();
    });
  }

  /** Not while answers are handed over, since it may end connections. */
  #weighLater(session: Session): void {
    if (this.#unweighed.size === 0) setImmediate(() => {
      const sessions = [...this.#unweighed];
      this.#unweighed.clear();
      for (const each of sessions) {
        const client = this.#clients.get(each);
        if (client !== undefined) this.#weigh(client);
      }
    });
    this.#unweighed.add(session);
  }

  #weigh(client: Client): void {
    if (client.connection.isClosed) return;
    const { bytes } = client.connection;
    this.#bytes += bytes - client.bytes;
    client.bytes = bytes;
    const { clientsBytesMax = LIMITS.clientsBytesMax, logger } = this.#options;
    if (this.#bytes <= clientsBytesMax) return;
    // Most have been answered since they were looked at.
    const open = [...this.#clients.values()].filter(({ connection }) => !connection.isClosed);
    for (const each of open) {
      this.#bytes += each.connection.bytes - each.bytes;
      each.bytes = each.connection.bytes;
    }
    if (this.#bytes <= clientsBytesMax) return;
    const largest = open.reduce((most, each) => (each.bytes > most.bytes ? each : most));
    logger.warn({ clients: this.#clients.size, bytes: this.#bytes, its: largest.bytes }, 'too much is held for clients: the one with most is cut off');
    this.#bytes -= largest.bytes;
    largest.bytes = 0;
    // It would not come to read why.
    if (largest.socket.writableLength > 0) largest.socket.destroy();
    else largest.socket.end('-ERR the server holds too much for its clients, and most for this one\r\n');
    largest.connection.close();
    // It may not even take that.
    setTimeout(() => largest.socket.destroy(), CLOSE_MS).unref();
  }

  #serverFacts(): ServerFacts {
    const server = this;
    return {
      startedMs: Date.now(),
      clientsMax: this.#options.clientsMax ?? LIMITS.clientsMax,
      get clients() { return [...server.#clients.keys()]; },
      get commandsRun() { return server.#executor.callsRun; },
      get connectionsMade() { return server.#connectionsMade; },
      get port() { return server.port; },
    };
  }
}

/** `onHeld`: something waits to be sent, or was and waits to be taken. */
function outletOf(socket: Socket, onHeld: () => void): Outlet {
  return {
    send: (pieces) => {
      if (pieces.length === 1) {
        if (!socket.write(pieces[0]!)) onHeld();
        return;
      }
      socket.cork();
      for (const piece of pieces) socket.write(piece);
      socket.uncork();
      if (socket.writableNeedDrain) onHeld();
    },
    held: onHeld,
    get pendingBytes() { return socket.writableLength; },
    pause: () => socket.pause(),
    resume: () => socket.resume(),
    end: () => {
      socket.end();
      // What the client sends from now on is read and forgotten, so that the last answers are not lost in a reset.
      socket.resume();
    },
  };
}

function addressOf(socket: Socket, place: ServerPlace): string {
  return 'path' in place ? `${place.path}:0` : `${socket.remoteAddress ?? '?'}:${socket.remotePort ?? 0}`;
}

export function describePlace(place: ServerPlace): string {
  return 'path' in place ? place.path : `${place.host}:${place.port}`;
}

/** Compares digests, so that its time tells nothing of the password. */
function passwordCheck(password: string): (given: Buffer) => boolean {
  const digest = (text: string | Buffer): Buffer => createHash('sha256').update(text).digest();
  const wanted = digest(password);
  return (given) => timingSafeEqual(digest(given), wanted);
}
