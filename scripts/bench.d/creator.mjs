// One of the processes of the row "create 1K files, 4 processes": says that it is ready, waits for the word, creates.
import { createSmall } from './rows.mjs';

const [directory, files] = process.argv.slice(2);
process.once('message', () => {
  createSmall(directory, Number(files));
  process.send('done');
});
process.send('ready');
