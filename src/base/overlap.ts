// Work on the items of a stream, some at once: the next item is asked for when there is room for it.

/** Resolves when all is done. After the first failure no item is asked for any more; rejects with it when no work is under way. */
export async function overlap<T>(items: AsyncIterable<T>, { atOnce, work }: { readonly atOnce: number; readonly work: (item: T) => Promise<unknown> }): Promise<void> {
  const running = new Set<Promise<void>>();
  let failure: { readonly error: unknown } | undefined;
  try {
    for await (const item of items) {
      const done: Promise<void> = work(item).then(() => {}, (error: unknown) => { failure ??= { error }; }).finally(() => running.delete(done));
      running.add(done);
      if (running.size >= atOnce) await Promise.race(running);
      if (failure !== undefined) break;
    }
  } catch (error) {
    failure ??= { error };
  }
  await Promise.all(running);
  if (failure !== undefined) throw failure.error;
}
