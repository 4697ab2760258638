import type { Command } from 'commander';
import { compile } from '../../ckks/planner/compile.ts';
import type { Plan } from '../../ckks/planner/plan.ts';
import { parametersJson } from '../../ckks/ring/parameters.ts';
import { manifestText } from '../../ckks/wire/manifest.ts';
import { writeOutput } from '../../files/output.ts';
import { loadModel } from '../../model/files.ts';
import { readCosts } from '../files/input.ts';
import { compileOptions, examples, jsonOption, type PlanChoice, planOptions } from '../options.ts';
import { coloursOf, type Io, printJson, printLines } from '../terminal/io.ts';
import { planLines } from '../terminal/plan.ts';

interface PlanCommandOptions extends PlanChoice {
  costs?: string;
  manifest?: string;
  json?: boolean;
}

/** `blindbeat plan`: all that is known before any key is made. */
export function addPlan(program: Command, io: Io): void {
  const command = program
    .command('plan')
    .summary('show what an encrypted classification takes, before any key is made')
    .description(
      'Plan the encrypted evaluation of a model and show it: every stage with its place in the chain of ' +
        'primes and its operations, parameters, keys, sizes on the wire, memory and time. Needs no key and ' +
        'takes a second.',
    );
  planOptions(command, io)
    .option('--costs <file>', 'estimate times with costs measured by bench --calibrate; the plan is the same')
    .option('--manifest <file>', 'write the manifest: what clients need to take part, without weights')
    .addOption(jsonOption())
    .action(async (options: PlanCommandOptions) => {
      const model = await loadModel(options.model);
      const estimateCosts = options.costs === undefined ? undefined : await readCosts(options.costs);
      const { plan } = compile(model, { ...(await compileOptions(options)), estimateCosts });
      if (options.manifest) await writeOutput(options.manifest, manifestText(plan.manifest));
      if (options.json) printJson(io, planJson(plan, options.manifest));
      else
        printLines(io.stdout, [
          ...planLines(plan, coloursOf(io.stdout)),
          ...(options.manifest ? ['', `  manifest written to ${options.manifest}`] : []),
        ]);
    });
  examples(command, [
    'blindbeat plan',
    'blindbeat plan --key-budget 100',
    'blindbeat plan --outputs scores+map --manifest manifest.json',
    'blindbeat plan --model ./my-model --json | jq .bytes',
  ]);
}

function planJson({ manifest, stages, operations, bytes, estimate }: Plan, file?: string) {
  return {
    model: manifest.model.name,
    planHash: manifest.planHash,
    params: parametersJson(manifest.parameters),
    stages,
    operations,
    keys: manifest.keys,
    bytes,
    estimate,
    scoreBound: manifest.scoreBound,
    scoreLimit: manifest.scoreLimit,
    ...(file !== undefined && { manifest: file }),
  };
}
