// The control client: one bounded HTTP call over the control socket of a running mount.
import { request } from 'node:http';
import { EXIT, TimeoutError, UserError } from '../base/errors.ts';
import type { ExitCode } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { isUnknownQuestion, readStatus, readUpkeep } from './answers.ts';
import type { ChildModules, DiskAnswer, DiskRequest, DriverFileInfo, RescueAnswer, RescueQuestion, StatusReport, UnmountMode, UnmountResult, UpkeepAnswer, UpkeepQuestion } from './api.ts';

interface Call {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly body?: unknown;
  readonly timeoutMs: number;
}

/** Nobody listens on the socket: the keeper is dead, or ending. */
export class KeeperGoneError extends UserError {}

export class ControlClient {
  readonly #socket: string;

  constructor(socket: string) {
    this.#socket = socket;
  }

  async status(timeoutMs: number = LIMITS.controlCallMs): Promise<StatusReport> {
    return readStatus(await this.#call({ method: 'GET', path: '/v1/status', timeoutMs }));
  }

  async sync(timeoutMs: number = LIMITS.controlSyncMs + LIMITS.controlCallMs): Promise<void> {
    await this.#call({ method: 'POST', path: '/v1/sync', timeoutMs });
  }

  async unmount(mode: UnmountMode, timeoutMs: number = 2 * LIMITS.controlSyncMs + LIMITS.controlCallMs): Promise<UnmountResult> {
    return (await this.#call({ method: 'POST', path: '/v1/umount', body: { mode }, timeoutMs })) as UnmountResult;
  }

  async info(inode: number, timeoutMs: number = LIMITS.controlSyncMs): Promise<DriverFileInfo> {
    return (await this.#call({ method: 'GET', path: `/v1/info?inode=${inode}`, timeoutMs })) as DriverFileInfo;
  }

  async changeDisks(change: DiskRequest, timeoutMs: number = LIMITS.driverStartMs): Promise<DiskAnswer> {
    return (await this.#call({ method: 'POST', path: '/v1/disks', body: change, timeoutMs })) as DiskAnswer;
  }

  async upgrade(modules: ChildModules, timeoutMs: number = LIMITS.driverStartMs): Promise<void> {
    await this.#call({ method: 'POST', path: '/v1/upgrade', body: modules, timeoutMs });
  }

  async rescue(question: RescueQuestion, timeoutMs: number = LIMITS.controlSyncMs + LIMITS.controlCallMs): Promise<RescueAnswer> {
    return (await this.#call({ method: 'POST', path: '/v1/rescue', body: question, timeoutMs })) as RescueAnswer;
  }

  async upkeep(question: UpkeepQuestion, timeoutMs: number = LIMITS.controlSyncMs + LIMITS.controlCallMs): Promise<UpkeepAnswer> {
    return readUpkeep(await this.#call({ method: 'POST', path: '/v1/upkeep', body: question, timeoutMs }));
  }

  /** Rejects with KeeperGoneError, TimeoutError, or the UserError that the keeper answered with. */
  async #call(call: Call): Promise<unknown> {
    const { status, text } = await this.#exchange(call);
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (cause) {
      throw new UserError(`the keeper at ${this.#socket} answered ${call.path} with something that is not JSON (HTTP ${status})`, EXIT.failure, { cause });
    }
    if (status < 400) return value;
    const error = (value as { error?: { message?: string; exitCode?: ExitCode } }).error;
    if (isUnknownQuestion(error?.message ?? '')) throw new UserError(`the running sdfs does not know what this command asks for (${call.path}): it is of another release. Try after "sdfs upgrade", or unmount and mount again`, EXIT.unsupported);
    throw new UserError(error?.message ?? `${call.path}: HTTP ${status}`, error?.exitCode ?? EXIT.failure);
  }

  #exchange(call: Call): Promise<{ status: number; text: string }> {
    const body = call.body === undefined ? undefined : JSON.stringify(call.body);
    return new Promise((resolve, reject) => {
      const outgoing = request({
        socketPath: this.#socket,
        method: call.method,
        path: call.path,
        agent: false,
        headers: body === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
      });
      const timer = setTimeout(() => outgoing.destroy(new TimeoutError(`the keeper's control socket, ${call.method} ${call.path}`, call.timeoutMs)), call.timeoutMs);
      outgoing.on('error', (error: NodeJS.ErrnoException) => {
        clearTimeout(timer);
        const gone = error.code === 'ENOENT' || error.code === 'ECONNREFUSED' || error.code === 'ECONNRESET';
        reject(gone ? new KeeperGoneError(`the keeper at ${this.#socket} does not answer (${error.code}): it has ended or is ending`, EXIT.notFound, { cause: error }) : error);
      });
      outgoing.on('response', (incoming) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        incoming.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > LIMITS.controlBodyBytesMax) outgoing.destroy(new Error(`the answer to ${call.path} is larger than ${LIMITS.controlBodyBytesMax} bytes`));
          else chunks.push(chunk);
        });
        incoming.on('error', (error) => outgoing.destroy(error));
        incoming.on('end', () => {
          clearTimeout(timer);
          resolve({ status: incoming.statusCode ?? 500, text: Buffer.concat(chunks).toString('utf8') });
        });
      });
      outgoing.end(body);
    });
  }
}
