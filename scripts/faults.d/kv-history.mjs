// What the clients of a store wrote down, put together and checked.
import fs from 'node:fs';
import { checkGrants, checkStoreHistory } from './linearizability.mjs';

/** { calls, grants, findings, counts } of the files of all clients. */
export function readHistories(files) {
  const calls = new Map();
  const grants = new Map();
  const findings = [];
  const counts = { calls: 0, unknown: 0, refused: 0, conflicts: 0, grants: 0 };
  for (const file of files) {
    for (const line of fs.readFileSync(file, 'utf8').split('\n')) {
      if (line === '') continue;
      let entry;
      try {
        entry = JSON.parse(line);
      } catch {
        // The last line of a process that was killed in the middle of it.
        continue;
      }
      if (entry.finding !== undefined) findings.push(entry.finding);
      else if (entry.lock !== undefined) grants.set(entry.token, { name: entry.lock, token: entry.token, granted: entry.granted, until: entry.until });
      else if (entry.token !== undefined) Object.assign(grants.get(entry.token), { until: entry.until });
      else if (entry.called !== undefined) calls.set(entry.id, entry);
      else if (entry.failed !== undefined) {
        calls.delete(entry.id);
        counts.refused++;
      } else if (entry.returned !== undefined) {
        Object.assign(calls.get(entry.id), { returned: entry.returned, answer: entry.answer });
        if (entry.answer?.conflict !== undefined) counts.conflicts++;
      }
    }
  }
  const all = [...calls.values()];
  Object.assign(counts, { calls: all.length, unknown: all.filter(({ returned }) => returned === undefined).length, grants: grants.size });
  return { calls: all, grants: [...grants.values()], findings, counts };
}

/** `last`: by key, what was read when all was over: { value, version } or null. */
export function checkHistories({ calls, grants, findings }, last) {
  const end = calls.reduce((latest, { called, returned }) => Math.max(latest, called, returned ?? 0), 0);
  const reads = [...last].map(([key, answer]) => ({ key, kind: 'get', called: end + 1, returned: end + 2, answer }));
  return [...findings, ...checkStoreHistory([...calls, ...reads]), ...checkGrants(grants)];
}
