// A session cache: sessions end by themselves when nobody uses them, and two requests at once lose nothing.
import { randomUUID } from 'node:crypto';
import { ConflictError, openStore } from 'sdfs/kv';

type Session = { user: string; cart: string[] };
const IDLE = { ttlMs: 30 * 60_000 };

await using store = await openStore({ path: process.argv[2] ?? 'sessions' });

async function begin(user: string): Promise<string> {
  const id = randomUUID();
  await store.set(`session/${id}`, JSON.stringify({ user, cart: [] }), { ...IDLE, ifAbsent: true });
  return id;
}

/** The session as it is then; undefined when it has ended. */
async function change(id: string, work: (session: Session) => void): Promise<Session | undefined> {
  for (;;) {
    const entry = await store.getEntry(`session/${id}`);
    if (entry === undefined) return undefined;
    const session = JSON.parse(String(entry.value)) as Session;
    work(session);
    try {
      await store.set(`session/${id}`, JSON.stringify(session), { ...IDLE, ifVersion: entry.version });
      return session;
    } catch (error) {
      if (!(error instanceof ConflictError)) throw error; // Another request was faster: look again.
    }
  }
}

const id = await begin('Ada');
await Promise.all(['tea', 'milk', 'sugar'].map((item) => change(id, ({ cart }) => cart.push(item))));
console.log('cart:', (await change(id, ({ cart }) => cart.sort()))?.cart.join(', '));
