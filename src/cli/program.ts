import { Command } from 'commander';
import { packageVersion } from '../measure/version.ts';
import { addApprox } from './commands/approx.ts';
import { addBench } from './commands/bench.ts';
import { addClassify } from './commands/classify.ts';
import { addData } from './commands/data.ts';
import { addDecrypt } from './commands/decrypt.ts';
import { addEncrypt } from './commands/encrypt.ts';
import { addEvaluate } from './commands/evaluate.ts';
import { addEvaluateDegrees } from './commands/evaluate-degrees.ts';
import { addInfer } from './commands/infer.ts';
import { addKeygen } from './commands/keygen.ts';
import { addPlan } from './commands/plan.ts';
import { addServe } from './commands/serve.ts';
import { addSynth } from './commands/synth.ts';
import { addToken } from './commands/token.ts';
import { addTrain } from './commands/train.ts';
import { addWorker } from './commands/worker.ts';
import { reportError } from './terminal/errors.ts';
import { type Io, print } from './terminal/io.ts';

/** All commands. They write to `io` and throw; `runCli` turns errors into words and exit codes. */
export function buildProgram(io: Io): Command {
  const program = new Command('blindbeat')
    .description(
      'Arrhythmia detection on a homomorphically encrypted ECG: one ciphertext up, a whole neural ' +
        'network under CKKS, one ciphertext down. Not a medical device.',
    )
    .version(packageVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .helpCommand('help [command]', 'show help of a command')
    .showHelpAfterError('(add --help for the options and examples)')
    .configureOutput({
      writeOut: (text) => print(io.stdout, text),
      writeErr: (text) => print(io.stderr, text),
    })
    .exitOverride();
  for (const add of COMMANDS) add(program, io);
  return program.addHelpText('after', HELP);
}

/** In the order of the help. */
const COMMANDS: ((program: Command, io: Io) => void)[] = [
  ...[addClassify, addPlan, addKeygen, addEncrypt, addInfer, addDecrypt, addServe, addWorker],
  ...[addToken, addSynth, addData, addTrain, addEvaluate, addEvaluateDegrees, addBench, addApprox],
];

const HELP = `
Everything on this machine:
  $ blindbeat classify               a built-in ECG and the shipped model
  $ blindbeat classify record.hea    an ECG of yours

Client and server apart:
  server  $ blindbeat plan --manifest manifest.json
          (what clients need; no weights in it)
  client  $ blindbeat keygen --manifest manifest.json --out my.keys
  client  $ blindbeat encrypt record.hea --keys my.keys --out request.bin
          (send my.keys/evaluation.keys once, and request.bin)
  server  $ blindbeat infer request.bin --keys evaluation.keys --out reply.bin
  client  $ blindbeat decrypt reply.bin --keys my.keys

A server for many clients, over HTTP:
  server  $ blindbeat serve
  client  $ blindbeat classify record.hea --server URL --token-file FILE

Exit codes:
  0 done   2 usage   3 ECG   4 model   5 plan   6 damaged or foreign file
  7 files that do not belong together   8 file system   9 no class can be named
  10 something is missing here   11 a service answered wrong
  70 a fault of ours   130 interrupted`;

/** Runs one command line and gives the exit code. */
export async function runCli(args: string[], io: Io): Promise<number> {
  try {
    await buildProgram(io).parseAsync(args, { from: 'user' });
    return 0;
  } catch (error) {
    return reportError(error, args, io);
  }
}
