import { once } from 'node:events';
import { type Command, Option } from 'commander';
import { MOST_THREADS } from '../../ckks/evaluator/fast/kernels/threads.ts';
import { examples, listOption, wholeNumber } from '../options.ts';
import { interruptible } from '../terminal/interrupt.ts';
import { type Io, print, printLines } from '../terminal/io.ts';

interface WorkerOptions {
  nats: string;
  models: string[];
  workers?: number;
  threads?: number;
  keyMemory?: number;
  dataDir?: string;
  json?: boolean;
}

/** `blindbeat worker`: a machine that evaluates for the front doors of `blindbeat serve --nats`. */
export function addWorker(program: Command, io: Io): void {
  const command = program
    .command('worker')
    .summary('evaluate for `blindbeat serve --nats` of other machines')
    .description(
      'Take encrypted ECGs from a nats-server and evaluate them, blindly, on as many machines as this is started on. ' +
        'The log goes to standard output, one line of JSON at a time. Ctrl-C finishes what runs and leaves.',
    )
    .requiredOption('--nats <url>', 'nats-server, as nats://[USER:PASSWORD@]HOST:PORT')
    .addOption(
      listOption('--models <list>', 'names of shipped models or folders, between commas', String, [
        'deepcardio-deg2',
      ]),
    )
    .option('--workers <n>', 'processes that evaluate (default: 1)', wholeNumber(1, 1024))
    .option('--threads <n>', 'threads of each (default: one for every core)', wholeNumber(1, MOST_THREADS))
    .option(
      '--key-memory <MB>',
      "memory for loaded keys of clients (default: half of the machine's)",
      wholeNumber(1),
    )
    .option('--data-dir <dir>', 'folder for copies of keys (default: one that goes at the end)')
    .addOption(
      new Option('--json', 'an error as a JSON object behind the log, and no words on standard error'),
    )
    .action((options: WorkerOptions) => interruptible((signal) => work(options, io, signal)));
  examples(command, ['blindbeat worker --nats nats://10.0.0.5:4222 --data-dir /var/lib/blindbeat']);
}

async function work({ nats, json, keyMemory, ...options }: WorkerOptions, io: Io, signal: AbortSignal) {
  // Loaded when needed: other commands start without a client of NATS.
  const { NatsWorker } = await import('../../service/nats/worker.ts');
  const { createLog } = await import('../../service/http/request-log.ts');
  const { noting } = await import('../../service/http/event-log.ts');
  const log = createLog({ write: (line) => print(io.stdout, line) });
  const memory = keyMemory === undefined ? {} : { keyMemory: 1e6 * keyMemory };
  await using worker = await NatsWorker.open({
    ...{ ...options, ...memory, servers: nats, signal, onEvent: noting(log) },
  });
  const { id, models } = worker;
  log.info({ working: models, worker: id });
  if (!json) printLines(io.stderr, [`${models.join(', ')} for whoever asks through NATS; Ctrl-C ends it`]);
  if (!signal.aborted) await once(signal, 'abort');
}
