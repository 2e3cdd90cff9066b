// Turns vitest's JSON report into the last line of scripts/test: "N passed, N failed". Exit code 1 unless all is well.
// usage: test-summary.mjs REPORT VITEST-EXIT-CODE [name of a check that failed]…
import { readFileSync } from 'node:fs';

const [report, exitCode, ...failedChecks] = process.argv.slice(2);
const result = readReport(report);
const passed = result?.numPassedTests ?? 0;
const skipped = (result?.numPendingTests ?? 0) + (result?.numTodoTests ?? 0);
// A file that cannot be loaded has no tests that could fail: it counts as one.
const brokenFiles = (result?.testResults ?? []).filter((file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'));
let failed = (result?.numFailedTests ?? 0) + brokenFiles.length + failedChecks.length;

for (const check of failedChecks) process.stdout.write(`${check} failed, see above\n`);
for (const file of brokenFiles) process.stdout.write(`${file.name} failed outside its tests\n`);
if (failed === 0 && (exitCode !== '0' || passed === 0)) {
  failed = 1;
  process.stdout.write(result === undefined ? `vitest wrote no report (exit code ${exitCode})\n` : `vitest ended with exit code ${exitCode} and ${passed} passed tests\n`);
}
if (skipped > 0) process.stdout.write(`${skipped} skipped: what they need is not on this machine\n`);
process.stdout.write(`${passed} passed, ${failed} failed\n`);
process.exitCode = failed === 0 ? 0 : 1;

function readReport(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}
