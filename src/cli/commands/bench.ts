import type { Command } from 'commander';
import { type Calibration, calibrate } from '../../ckks/calibrate.ts';
import { OPERATIONS } from '../../ckks/evaluator/operations.ts';
import { compile } from '../../ckks/planner/compile.ts';
import { operationMs } from '../../ckks/planner/cost.ts';
import { planCircuit } from '../../ckks/planner/plan.ts';
import { formatMs } from '../../measure/format.ts';
import { machine } from '../../measure/machine.ts';
import { loadModel } from '../../model/files.ts';
import { requireOutputs, writeOutputs } from '../files/outputs.ts';
import { examples, jsonOption, modelOption } from '../options.ts';
import { type Colours, coloursOf, type Io, printJson, printLines } from '../terminal/io.ts';
import { progressOn } from '../terminal/progress.ts';
import { right, table } from '../terminal/table.ts';

interface BenchOptions {
  calibrate: true;
  model: string;
  out?: string;
  json?: boolean;
}

/** `blindbeat bench`: what operations take on this machine. */
export function addBench(program: Command, io: Io): void {
  const command = program
    .command('bench')
    .summary('measure what operations on ciphertexts take on this machine')
    .description(
      'Measure the operations of the fast backend, one thread, with the parameters of a model, and fit ' +
        'the cost model with which plan estimates times. Takes about half a minute; needs no keys.',
    )
    .requiredOption('--calibrate', 'measure the cost model')
    .addOption(modelOption())
    .option('-o, --out <file>', 'write the costs, for --costs and --schedule-costs of other commands')
    .addOption(jsonOption())
    .action((options: BenchOptions) => bench(options, io));
  examples(command, ['blindbeat bench --calibrate', 'blindbeat bench --calibrate --out costs.json']);
}

async function bench({ model: name, out, json }: BenchOptions, io: Io): Promise<void> {
  await requireOutputs([out]);
  const model = await loadModel(name);
  const { circuit, plan } = compile(model);
  const start = progressOn(io, json);
  let calibration: Calibration;
  {
    using task = start('measuring', { total: 5 });
    calibration = await calibrate(circuit.parameters, (done) => task.update(done));
  }
  const file = { ...calibration, machine: machine() };
  await writeOutputs([[out, () => `${JSON.stringify(file, null, 2)}\n`]]);
  const estimates = {
    measured: planCircuit(model, circuit, 'fast', calibration.costs).estimate.serverMs,
    builtIn: plan.estimate.serverMs,
  };
  if (json) {
    printJson(io, { ...file, model: model.name, serverMs: estimates, ...(out && { path: out }) });
    return;
  }
  printLines(io.stdout, [
    '',
    ...costLines(calibration, coloursOf(io.stdout)),
    '',
    `  ${model.name}: about ${formatMs(estimates.measured)} per ECG on one core;`,
    `  with the built-in costs ${formatMs(estimates.builtIn)}`,
    ...(out ? ['', `  costs written to ${out}`] : []),
  ]);
}

/** One row for each operation: milliseconds measured by limbs, and how far off the fit is. */
function costLines({ n, costs, measured }: Calibration, colours: Colours): string[] {
  const levels = [...new Set(measured.map(({ limbs }) => limbs))];
  const rows = OPERATIONS.map((operation) => [
    operation,
    ...levels.map((limbs) => {
      const { ms } = measured.find((row) => row.operation === operation && row.limbs === limbs)!;
      if (ms === 0) return '0';
      const off = Math.round(100 * (operationMs(costs, operation, limbs, n) / ms - 1));
      return `${Number(ms.toPrecision(3))} ${off < 0 ? '' : '+'}${off} %`;
    }),
  ]);
  const columns = levels.map((limbs) => right(`${limbs} limbs`));
  return [
    `  milliseconds at N = ${n}, one thread, and how far off the fit is`,
    '',
    ...table([{ title: 'operation' }, ...columns], rows, colours),
  ];
}
