// What kv/ needs of a channel to a worker: typed requests, and word of its end. ipc/worker-connection.ts is the real one.
import type { MessageName, ReplyOf, RequestOf } from '../ipc/messages.ts';
import { WorkerConnection } from '../ipc/worker-connection.ts';

export interface WorkerClient {
  /**
   * Sends one request. Buffers in it belong to the channel until the promise is settled. Rejects with WorkerError
   * (the worker's answer), TimeoutError (no answer) or ChannelClosedError.
   */
  request<M extends MessageName>(name: M, request: RequestOf<M>, options: { readonly timeoutMs: number }): Promise<ReplyOf<M>>;
  /** Called once when the channel has ended, whoever ended it; at once when it ended before. */
  onClose(listener: (cause: Error) => void): void;
  /** Ends the channel: requests in flight reject, none of their bytes is sent any more. */
  close(): void;
  /** Reads what has arrived without waiting for the event loop; true when there was something. */
  poll?(): boolean;
}

/** Opens a channel to the worker's socket; rejects when nobody listens there. */
export type ConnectWorker = () => Promise<WorkerClient>;

/** Channels to the UNIX socket at `path`. One attempt each: the link tries again by itself. */
export function workerSocket(path: string): ConnectWorker {
  return () => WorkerConnection.connect(path, { timeoutMs: 0 });
}
