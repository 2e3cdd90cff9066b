#!/usr/bin/env node
// The sdfs command: options that all subcommands share, and the one place where it ends.
import { existsSync, readFileSync } from 'node:fs';
import { Command, Option } from 'commander';
import { registerDisk } from './disk.ts';
import { EXIT_CODES_HELP, reportFailure } from './failure.ts';
import { registerDump } from './dump.ts';
import { registerFsck } from './fsck.ts';
import { registerGc } from './gc.ts';
import { registerInfo } from './info.ts';
import { registerInit } from './init.ts';
import { registerKv } from './kv.ts';
import { registerLoad } from './load.ts';
import { registerMount } from './mount.ts';
import { registerScrub } from './scrub.ts';
import { registerStatus } from './status.ts';
import { registerSync } from './sync.ts';
import { print } from './terminal.ts';
import { registerUmount } from './umount.ts';
import { registerUpgrade } from './upgrade.ts';

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'];

/** From the package.json above this file, wherever it was built to. */
function version(): string {
  for (let directory = new URL('..', import.meta.url); directory.pathname !== '/'; directory = new URL('..', directory)) {
    const file = new URL('package.json', directory);
    if (existsSync(file)) return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
  }
  return 'unknown';
}

function createProgram(): Command {
  const program = new Command('sdfs')
    .description('sdfs pools the disks of a machine into one file system, with several copies of every block.')
    .version(version(), '-V, --version', 'print the version')
    .addOption(new Option('--log-level <level>', 'what goes to the log; with debug, errors show where they come from').choices(LOG_LEVELS).default('info'))
    .helpCommand('help [command]', 'show the help of a command')
    .addHelpText('after', EXIT_CODES_HELP)
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(`${text.trim().replace(/^error: /, 'sdfs: ').replaceAll('\n', ' ')}; see --help\n`) });
  for (const register of [registerInit, registerMount, registerUmount, registerSync, registerStatus, registerInfo, registerGc, registerScrub, registerFsck, registerDump, registerLoad, registerUpgrade, registerDisk, registerKv]) register(program);
  program.command('version').summary('print the version').description('Print the version.').action(() => print(version()));
  return program;
}

const program = createProgram();
try {
  await program.parseAsync();
} catch (error) {
  // Not exitCode: whatever a failed command left open must not keep it alive.
  process.exit(reportFailure(error, { debug: ['debug', 'trace'].includes(program.opts<{ logLevel: string }>().logLevel) }));
}
