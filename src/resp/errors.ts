// What a client of the Redis protocol did that cannot be answered as asked; the messages are Redis's own where it has one.

/** The frame is broken: told to the client, and the connection is closed, since nothing behind it can be understood. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
  constructor(message: string) {
    super(`Protocol error: ${message}`);
  }
}

/** The command is refused; the message is the error reply, with its code (`ERR`, `WRONGPASS`) at the front. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
  constructor(reply: string) {
    // A stack costs 2 us, and nobody reads that of a client's mistake.
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    super(reply);
    Error.stackTraceLimit = stackTraceLimit;
  }
}
