/**
 * All benchmarks, one after another, and at the end what they found side by side.
 *
 *   npm run bench -- [--quick] [--only baseline,throughput,...] [--write]
 *
 * baseline: the release before, in turns; throughput: workers x threads; server-fast and server-one-thread;
 * client; backends: node-seal; frontier: bytes of keys against time. `--quick` measures little, in
 * minutes; `--write` puts the results into bench/results. A benchmark that fails is told at the end, and the
 * exit code is 1.
 */
import { spawnSync } from 'node:child_process';
import { copyFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { PARTS, type Part } from './main/parts.ts';
import { type Results, type SummaryRow, summaryRows } from './main/summary.ts';
import { environment, ROOT } from './shared/environment.ts';
import { machineLines, note, oneOf, runBenchmark } from './shared/run.ts';

const RESULTS = join(ROOT, 'bench/results');

await runBenchmark(async () => {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string' },
      write: { type: 'boolean', default: false },
    },
  });
  const parts = partsOf(values.only);
  const folder = await mkdtemp(join(tmpdir(), 'blindbeat-bench-'));
  const results: Record<string, unknown> = {};
  try {
    for (const [k, part] of parts.entries()) {
      note(`benchmark ${k + 1} of ${parts.length}: ${part.name}`);
      const out = join(folder, `${part.name}.json`);
      if (!runPart(part, values.quick, out, values.write)) continue;
      results[part.name] = JSON.parse(await readFile(out, 'utf8'));
      if (values.write) await copyFile(out, join(RESULTS, `${part.name}.json`));
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  showSummary(summaryRows(results as Results));
  const failed = parts.filter(({ name }) => !(name in results));
  if (failed.length === 0) return;
  console.error(`failed, see above: ${failed.map(({ name }) => name).join(', ')}`);
  process.exitCode = 1;
});

function showSummary(rows: SummaryRow[]): void {
  if (rows.length === 0) return;
  console.log('\nside by side; each ratio is of one run');
  for (const line of machineLines(environment())) console.log(line);
  console.table(Object.fromEntries(rows.map(({ figure, ...row }) => [figure, row])));
}

/** @throws BlindbeatError USAGE for a benchmark that there is not */
function partsOf(only: string | undefined): readonly Part[] {
  const names = PARTS.map(({ name }) => name);
  const asked = only?.split(',').map((name) => oneOf('only', name, names));
  return asked ? PARTS.filter(({ name }) => asked.includes(name)) : PARTS;
}

/** Runs a benchmark in a process of its own, which prints what it finds; whether it was done. */
function runPart(
  { name, script, full, quick }: Part,
  isQuick: boolean,
  out: string,
  write: boolean,
): boolean {
  const picture = name === 'frontier' && write ? ['--svg', join(RESULTS, 'frontier.svg')] : [];
  const args = [join(import.meta.dirname, script), ...(isQuick ? quick : full), ...picture, '--out', out];
  return spawnSync(process.execPath, args, { stdio: 'inherit' }).status === 0;
}
