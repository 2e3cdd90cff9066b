// A driver for tests of the keeper: the mount it serves is a file beside the mountpoint, gone when MOUNTPOINT.gone is
// there. It appends each start message to MOUNTPOINT.starts. A volume named "unusable" is refused.
import { appendFileSync, existsSync, fstatSync } from 'node:fs';

let start;

function end() {
  process.send({ type: 'ended' }, () => process.exit(0));
}

process.on('message', (message) => {
  if (message.type === 'start') {
    start = message;
    fstatSync(message.edge.fd); // throws, and so ends the process, when it was not inherited
    appendFileSync(`${message.mountpoint}.starts`, `${JSON.stringify(message)}\n`);
    if (message.description.name === 'unusable') return void process.send({ type: 'unusable', reason: 'the database is of a newer sdfs', exitCode: 9 }, () => process.exit(9));
    if (message.session === undefined) process.send({ type: 'session', session: 'negotiated' });
    process.send({ type: 'ready' });
    setInterval(() => existsSync(`${message.mountpoint}.gone`) && end(), 10);
  } else if (message.type === 'stop') {
    end();
  } else if (message.type === 'handOver') {
    process.exit(17);
  } else if (message.query === 'sync' || message.query === 'ping') {
    process.send({ type: 'reply', id: message.id });
  } else if (message.query === 'status') {
    const disks = start.description.disks.map(({ worker }) => ({ worker, connected: true, member: true, holdsLog: true, statistics: { totalBytes: 1000, availableBytes: 400, blockBytes: 600, blockCount: 2, logBytes: 0, device: 7 } }));
    process.send({ type: 'reply', id: message.id, value: { capacity: { totalBytes: 1000, availableBytes: 400 }, inodes: 3, pendingBytes: 0, degradedBlocks: 0, disks, membership: { epoch: 1 } } });
  } else {
    process.send({ type: 'reply', id: message.id, error: `no such inode ${message.argument.inode}` });
  }
});
process.on('disconnect', () => process.exit(0));
