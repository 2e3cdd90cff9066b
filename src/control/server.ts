// The control server: the API of control/api.ts on a UNIX socket that only its owner may open.
import { chmodSync, rmSync } from 'node:fs';
import type { Server } from 'node:http';
import { createAdaptorServer } from '@hono/node-server';
import { Hono } from 'hono';
import { z } from 'zod';
import { EXIT, UserError } from '../base/errors.ts';
import type { ExitCode } from '../base/errors.ts';
import type { WorkerId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import { MEMBERS_MAX } from '../base/membership.ts';
import type { Logger } from '../base/log.ts';
import { UNMOUNT_MODES } from './api.ts';
import type { ControlHandler, ErrorBody, RescueQuestion, UnmountMode, UpkeepQuestion } from './api.ts';

/** HTTP status for an exit code; the client reads the exit code, other programs the status. */
function httpStatus(exitCode: ExitCode): 400 | 404 | 409 | 500 {
  if (exitCode === EXIT.usage) return 400;
  if (exitCode === EXIT.notFound) return 404;
  if (exitCode === EXIT.busy) return 409;
  return 500;
}

function parseMode(body: unknown): UnmountMode {
  const mode = typeof body === 'object' && body !== null && 'mode' in body ? body.mode : undefined;
  const known = UNMOUNT_MODES.find((name) => name === mode);
  if (known === undefined) throw new UserError(`unmount mode ${JSON.stringify(mode)} is not one of ${UNMOUNT_MODES.join(', ')}`, EXIT.usage);
  return known;
}

function parseInode(text: string | undefined): number {
  const inode = Number(text);
  if (text === undefined || !Number.isSafeInteger(inode) || inode < 1) throw new UserError(`inode ${JSON.stringify(text)} is not a positive whole number`, EXIT.usage);
  return inode;
}

const modulesSchema = z.object({ driver: z.string().startsWith('/'), worker: z.string().startsWith('/'), unmount: z.string().startsWith('/') });

const disk = z.int().min(0);
const directory = z.string().startsWith('/');
const diskSchema = z.discriminatedUnion('action', [
  z.object({ action: z.literal('add'), directory }),
  z.object({ action: z.enum(['drain', 'undrain']), disk }),
  z.object({ action: z.literal('remove'), disk, force: z.boolean() }),
  z.object({ action: z.literal('replace'), disk, directory }),
]);

function parse<T>(schema: z.ZodType<T>, body: unknown): T {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new UserError(`the request is not as expected: ${issue?.path.join('.') || 'body'}: ${issue?.message ?? ''}`, EXIT.usage);
}

const questionSchema: z.ZodType<UpkeepQuestion> = z.discriminatedUnion('ask', [
  z.object({ ask: z.literal('status') }),
  z.object({ ask: z.literal('gc'), dryRun: z.boolean() }),
  z.object({ ask: z.literal('result'), ticket: z.int() }),
  z.object({ ask: z.literal('scrub'), rate: z.int().min(1).optional() }),
  z.object({ ask: z.literal('damaged') }),
  z.object({ ask: z.literal('whatIf'), lose: z.array(z.int().min(0).transform((worker) => worker as WorkerId)).min(1).max(MEMBERS_MAX) }),
  z.object({ ask: z.literal('whatIfResult'), ticket: z.int() }),
]);

const rescueSchema: z.ZodType<RescueQuestion> = z.discriminatedUnion('ask', [
  z.object({ ask: z.literal('fsck'), repair: z.boolean(), examples: z.int().min(0).max(100_000), copies: z.boolean() }),
  z.object({ ask: z.literal('fsckResult'), ticket: z.int() }),
  z.object({ ask: z.literal('fsckEnd'), ticket: z.int() }),
  z.object({ ask: z.literal('dump') }),
  z.object({ ask: z.literal('dumpText'), ticket: z.int() }),
]);

function parseQuestion(body: unknown): UpkeepQuestion {
  const parsed = questionSchema.safeParse(body);
  if (!parsed.success) throw new UserError(`that is no question about upkeep: ${z.prettifyError(parsed.error)}`, EXIT.usage);
  return parsed.data;
}

/** The routes alone, for tests without a socket. */
export function createControlApp(handler: ControlHandler, log: Logger): Hono {
  const app = new Hono();
  app.get('/v1/status', async (context) => context.json(await handler.status()));
  app.post('/v1/sync', async (context) => {
    await handler.sync();
    return context.json({});
  });
  app.post('/v1/umount', async (context) => context.json(await handler.unmount(parseMode(await context.req.json().catch(() => undefined)))));
  app.get('/v1/info', async (context) => context.json(await handler.info(parseInode(context.req.query('inode')))));
  app.post('/v1/disks', async (context) => context.json(await handler.changeDisks(parse(diskSchema, await context.req.json().catch(() => undefined)))));
  app.post('/v1/upgrade', async (context) => {
    await handler.upgrade(parse(modulesSchema, await context.req.json().catch(() => undefined)));
    return context.json({});
  });
  app.post('/v1/upkeep', async (context) => context.json(await handler.upkeep(parseQuestion(await context.req.json().catch(() => undefined)))));
  app.post('/v1/rescue', async (context) => context.json(await handler.rescue(parse(rescueSchema, await context.req.json().catch(() => undefined)))));
  app.notFound((context) => context.json({ error: { message: `no such call: ${context.req.method} ${context.req.path}`, exitCode: EXIT.unsupported } } satisfies ErrorBody, 404));
  app.onError((error, context) => {
    const exitCode = error instanceof UserError ? error.exitCode : EXIT.failure;
    if (!(error instanceof UserError)) log.error({ err: error, path: context.req.path }, 'control call failed');
    return context.json({ error: { message: error.message, exitCode } } satisfies ErrorBody, httpStatus(exitCode));
  });
  return app;
}

export class ControlServer {
  readonly #server: Server;
  readonly #socket: string;

  private constructor(server: Server, socket: string) {
    this.#server = server;
    this.#socket = socket;
  }

  /** Listens on `socket`, replacing what a dead keeper left there. The directory must be 0700: that is what guards it until the chmod. */
  static async listen(handler: ControlHandler, options: { socket: string; log: Logger }): Promise<ControlServer> {
    rmSync(options.socket, { force: true });
    const server = createAdaptorServer({ fetch: createControlApp(handler, options.log).fetch }) as Server;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(options.socket, () => {
        server.off('error', reject);
        resolve();
      });
    });
    chmodSync(options.socket, 0o600);
    server.on('error', (error) => options.log.error({ err: error }, 'control server'));
    return new ControlServer(server, options.socket);
  }

  /** Lets answers under way go out (bounded), then closes and removes the socket. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    const timer = setTimeout(() => this.#server.closeAllConnections(), LIMITS.controlEndMs);
    await closed;
    clearTimeout(timer);
    rmSync(this.#socket, { force: true });
  }
}
