// Hands a dump of the metadata out in portions, at the pace of who asks; what it is of is one moment.
import { EXIT, UserError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { writeDump } from '../dump/dump-writer.ts';
import type { RescueAnswer } from '../ipc/rescue-messages.ts';
import type { VolumeDescription } from '../ipc/process-messages.ts';
import type { MetadataView } from '../metadata/engine.ts';
import type { VfsContext } from '../vfs/context.ts';

const PORTION_CHARACTERS = 256 * 1024;

interface Open {
  readonly ticket: number;
  readonly view: MetadataView;
  readonly lines: Generator<string>;
  timer: NodeJS.Timeout;
}

/** A dump as of now; the caller closes the view when it has read, or given up, all of it. */
export async function beginDump(context: VfsContext, description: VolumeDescription): Promise<{ view: MetadataView; lines: Generator<string> }> {
  // What rides in the log goes to the disks first, as far as it goes: the rest is in the dump.
  await context.durability.drain().catch((error: unknown) => context.logger.warn({ err: error }, 'small data stays in memory, and goes into the dump'));
  const opening = context.engine.view();
  const pending = [...context.pending.all()];
  const view = await opening;
  return { view, lines: writeDump({ view, volume: description.volume, description, pending }) };
}

export class DriverDumps {
  readonly #context: VfsContext;
  readonly #description: VolumeDescription;
  #open: Open | undefined;
  #ticket = 0;

  constructor(context: VfsContext, description: VolumeDescription) {
    this.#context = context;
    this.#description = description;
  }

  async begin(): Promise<RescueAnswer> {
    if (this.#open !== undefined) throw new UserError('a dump is being written already: wait until it has ended', EXIT.busy);
    const { view, lines } = await beginDump(this.#context, this.#description);
    this.#end();
    const ticket = ++this.#ticket;
    this.#open = { ticket, view, lines, timer: this.#expire() };
    return { ticket };
  }

  read(ticket: number): RescueAnswer {
    const open = this.#open;
    if (open?.ticket !== ticket) throw new UserError('the dump was given up, since the driver was started again or nobody asked for more: begin again', EXIT.failure);
    clearTimeout(open.timer);
    let text = '';
    while (text.length < PORTION_CHARACTERS) {
      const { value, done } = open.lines.next();
      if (done === true) {
        this.#end();
        return { text, end: true };
      }
      text += value;
    }
    open.timer = this.#expire();
    return { text };
  }

  stop(): void {
    this.#end();
  }

  #expire(): NodeJS.Timeout {
    return setTimeout(() => this.#end(), LIMITS.dumpIdleMs).unref();
  }

  #end(): void {
    if (this.#open === undefined) return;
    clearTimeout(this.#open.timer);
    this.#open.view.close();
    this.#open = undefined;
  }
}
