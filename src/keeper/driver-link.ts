// Questions from the keeper to its driver over the fork channel: each is answered, or fails within a bound.
import { ChannelClosedError, TimeoutError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { DriverFileInfo, DriverStatus, DriverToKeeper, KeeperToDriver, UpkeepAnswer, UpkeepQuestion } from '../ipc/process-messages.ts';
import type { RescueAnswer, RescueQuestion } from '../ipc/rescue-messages.ts';

interface Pending {
  readonly query: string;
  readonly timer: NodeJS.Timeout;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

type Reply = Extract<DriverToKeeper, { type: 'reply' }>;

export class DriverLink {
  readonly #send: (message: KeeperToDriver) => boolean;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;

  /** `send` returns false when there is no driver. */
  constructor(send: (message: KeeperToDriver) => boolean) {
    this.#send = send;
  }

  async status(): Promise<DriverStatus> {
    return (await this.#ask('status', LIMITS.controlCallMs / 2)) as DriverStatus;
  }

  /** Answered by the driver's event loop at once. TimeoutError when it does not go round. */
  async ping(): Promise<void> {
    await this.#ask('ping', LIMITS.driverPingMs);
  }

  async sync(): Promise<void> {
    await this.#ask('sync', LIMITS.controlSyncMs);
  }

  async info(inode: number): Promise<DriverFileInfo> {
    return (await this.#ask('info', LIMITS.controlSyncMs, { inode })) as DriverFileInfo;
  }

  /** 'damaged' looks over the whole metadata. */
  async upkeep(question: UpkeepQuestion): Promise<UpkeepAnswer> {
    return (await this.#ask('upkeep', question.ask === 'damaged' ? LIMITS.controlSyncMs : LIMITS.controlCallMs, question)) as UpkeepAnswer;
  }

  async rescue(question: RescueQuestion): Promise<RescueAnswer> {
    return (await this.#ask('rescue', LIMITS.controlSyncMs, question)) as RescueAnswer;
  }

  take(reply: Reply): void {
    const pending = this.#pending.get(reply.id);
    if (pending === undefined) return;
    this.#pending.delete(reply.id);
    clearTimeout(pending.timer);
    if (reply.error === undefined) pending.resolve(reply.value);
    else pending.reject(new Error(reply.error));
  }

  /** The driver died: nothing that was asked will be answered. */
  failAll(reason: string): void {
    for (const pending of this.#pending.values()) {
      clearTimeout(pending.timer);
      pending.reject(new ChannelClosedError(`${reason} (asked for ${pending.query})`));
    }
    this.#pending.clear();
  }

  #ask(query: string, timeoutMs: number, argument?: unknown): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#pending.size >= LIMITS.driverQuestionsMax) return reject(new Error(`the driver has ${LIMITS.driverQuestionsMax} questions open; try again`));
      const id = this.#nextId++;
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(new TimeoutError(`the driver, asked for ${query}`, timeoutMs));
      }, timeoutMs);
      this.#pending.set(id, { query, timer, resolve, reject });
      if (this.#send({ type: 'query', id, query, argument })) return;
      this.#pending.delete(id);
      clearTimeout(timer);
      reject(new ChannelClosedError(`there is no driver now; it is being started again (asked for ${query})`));
    });
  }
}
