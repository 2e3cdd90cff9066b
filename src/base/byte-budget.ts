// Bytes that may be in memory at once for some purpose: who would go beyond waits, in turn.

interface Waiting {
  readonly bytes: number;
  readonly resolve: () => void;
}

export class ByteBudget {
  readonly #bytesMax: number;
  #taken = 0;
  #waiting: Waiting[] = [];

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Undefined: they are taken. A promise: they are when it resolves. More than all are had when nobody else has any. */
  take(bytes: number): Promise<void> | undefined {
    if (this.#waiting.length === 0 && this.#fits(bytes)) {
      this.#taken += bytes;
      return undefined;
    }
    return new Promise((resolve) => this.#waiting.push({ bytes, resolve }));
  }

  give(bytes: number): void {
    this.#taken -= bytes;
    while (this.#waiting.length > 0 && this.#fits(this.#waiting[0]!.bytes)) {
      const next = this.#waiting.shift()!;
      this.#taken += next.bytes;
      next.resolve();
    }
  }

  #fits(bytes: number): boolean {
    return this.#taken === 0 || this.#taken + bytes <= this.#bytesMax;
  }
}
