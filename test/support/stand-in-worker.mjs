// A worker for tests of the keeper: ready at once, serves nothing. The name of its directory says how it behaves.
process.on('message', (message) => {
  if (message.type === 'stop') process.exit(0);
  if (message.type !== 'start') return;
  if (message.directory.endsWith('unusable')) process.send({ type: 'unusable', reason: `the disk ${message.directory} is another volume's`, exitCode: 6 }, () => process.exit(6));
  else if (message.directory.endsWith('crashing')) process.exit(3);
  else process.send({ type: 'ready' });
});
process.on('disconnect', () => process.exit(0));
