// A python3 process that makes the system calls which Node has not, one after the other.
import { spawn } from 'node:child_process';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const SCRIPT = fileURLToPath(new URL('../support/calls.py', import.meta.url));
const ANSWER_MS = 30_000;

/** Rejects with an error whose `code` is the errno's name, as Node's own calls do. */
export class Calls {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;

  constructor() {
    this.#child = spawn('python3', [SCRIPT], { stdio: ['pipe', 'pipe', 'pipe'], cwd: '/' });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
    this.#child.stderr.pipe(process.stderr);
  }

  /** One at a time. */
  async make(call: string, request: Record<string, unknown>): Promise<unknown> {
    this.#child.stdin.write(`${JSON.stringify({ call, ...request })}\n`);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${ANSWER_MS} ms: ${call}`)), ANSWER_MS);
    });
    const line = await Promise.race([this.#lines.next(), late]).finally(() => clearTimeout(timer));
    if (line.done === true) throw new Error(`the process that makes calls ended at ${call}`);
    const answer = JSON.parse(line.value) as { value?: unknown; errno?: string };
    if (answer.errno !== undefined) throw Object.assign(new Error(answer.errno), { code: answer.errno });
    return answer.value ?? undefined;
  }

  async end(): Promise<void> {
    this.#child.stdin.end();
    if (this.#child.exitCode === null) await once(this.#child, 'exit');
  }
}
